#!/bin/sh
# Leaves only when the file named by GATE is there.
trap 'echo leaving; while [ ! -e "$GATE" ]; do sleep 0.05; done; exit 0' INT
echo started
while :; do sleep 0.05; done
