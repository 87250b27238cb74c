#!/bin/bash
# Writes whole lines, one stream after the other.
echo out 1; sleep 0.2; echo err 1 >&2; sleep 0.2; echo "out 2 äö"; sleep 0.2; echo err 2 >&2; sleep 0.2; echo out 3
exec sleep 100000
