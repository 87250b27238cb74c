#!/bin/bash
# Writes known lines to both streams; the last has no end.
echo out 1; echo err 1 >&2; echo "out 2 äö"; echo err 2 >&2; echo; printf 'no end'
echo done > lines.done
exec sleep 100000
