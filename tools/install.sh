#!/bin/sh
# Lays the binary into place, and refuses to shadow another program of the same name: `rpm` is Red Hat's package
# manager on half of all servers, and replacing that would break the machine.
set -eu

# The first line of our help. `rpm --version` of both programs begins with a name and a number.
is_ours() {
    "$1" --help 2>/dev/null | grep -q '^A process manager; takes the commands and the ecosystem files of PM2'
}

if [ "$1" = --remove ]; then
    target="$2/$3"
    if [ ! -e "$target" ]; then
        echo "$target is not there"
    elif is_ours "$target"; then
        rm "$target"
        echo "removed $target"
    else
        echo "error: $target is not this program, so it stays" >&2
        exit 1
    fi
    exit 0
fi

binary=$1 directory=$2 name=$3
target="$directory/$name"

refuse() {
    cat >&2 <<MESSAGE
error: not installed: $1
  Another program is called \`$name\` (Red Hat's package manager has the name rpm).
  Choose another name, for example:  make install NAME=rpmx
MESSAGE
    exit 1
}

if [ -e "$target" ] && ! is_ours "$target"; then
    refuse "$target exists and is another program"
fi
other=$(command -v "$name" || true)
if [ -n "$other" ] && [ "$other" != "$target" ] && ! is_ours "$other"; then
    refuse "$target would shadow, or be shadowed by, $other"
fi

mkdir -p "$directory"
install -m 0755 "$binary" "$target"
echo "installed $target"
