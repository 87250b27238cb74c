#!/bin/bash
# Writes the signals it gets into `signals.NAME`; ends at SIGINT unless DEAF is set.
file="signals.$name"
for signal in INT TERM USR1 USR2 HUP; do trap "echo $signal >> $file" "$signal"; done
[ -n "$DEAF" ] || trap "echo INT >> $file; exit 0" INT
echo armed >> "$file"
while :; do read -rt 100 <> <(:) || :; done
