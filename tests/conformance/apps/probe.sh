#!/bin/bash
# Writes its arguments and where it is into `seen.NAME`.
printf '%s\n' "cwd $PWD" "${@/#/arg }" "instance $NODE_APP_INSTANCE" >> "${BASH_SOURCE%/*}/seen.$name"
exec sleep 100000
