#!/bin/sh
# Read by `sh -s SHA256`: have the files of the staged archive of that name in a directory of ours, whole or not at all.
umask 022
state=$HOME/.local/state/jetsonx
place=$state/debug/$1 archive=$state/staging/$1
if [ ! -d "$place" ] && [ -e "$archive" ]; then
  part=$state/debug/.$1.$$
  mkdir -p "$part" && tar -x -z -f "$archive" -C "$part" && mv "$part" "$place"
  rm -rf "$part"
  for other in "$state/debug"/*; do
    if [ "$other" != "$place" ]; then rm -rf "$other"; fi
  done
  rm -f "$archive"
fi
say python "$(command -v python3)"
if [ -d "$place" ]; then say there yes; fi
say end whole
