#!/bin/bash
# Writes numbered lines at a steady pace, so that a lost or doubled one shows.
for ((i = 1; i <= ${LINES_WANTED:-1000}; i++)); do
  echo "line $i"
  if ((i % 20 == 0)); then read -rt 0.02 <> <(:) || :; fi
done
echo done
exec sleep 100000
