#!/bin/sh
echo started
exec sleep 100000
