#!/bin/bash
# Starts a daemon that keeps nothing of ours, neither session nor environment, and says its number.
env -i /usr/bin/setsid -f /bin/sh -c 'echo $$; exec sleep 100000'
exec sleep 100000
