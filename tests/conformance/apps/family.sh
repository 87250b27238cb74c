#!/bin/bash
# A parent with a child that writes the signals it gets into `family.child`.
(trap 'echo INT >> family.child; exit 0' INT; echo armed >> family.child; while :; do read -rt 100 <> <(:) || :; done) &
trap 'echo INT >> family.parent; exit 0' INT
echo armed >> family.parent
while :; do read -rt 100 <> <(:) || :; done
