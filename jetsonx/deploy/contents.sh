#!/bin/sh
# Read by `sh -s APP ID IMAGE FOLDER DOCKER...`: what the container's FOLDER holds, a line of `file=SHA256 NAME` for each
# file, as it was noted or else as it is read now; images need no shell for that. It changes nothing.
note=$HOME/.local/state/jetsonx/apps/$1/contents/$2
id=$2 image=$3 folder=$4
shift 4
tell() {
  say platform "$("$@" image inspect --format '{{.Architecture}}' "$image" 2>/dev/null)"
  say python "$(command -v python3)"
  if ! grep '^file=' "$note" 2>/dev/null; then
    # shellcheck disable=SC2016 # for tar's shell to expand
    "$@" cp "$id:$folder" - 2>/dev/null | tar -x -f - --to-command='sum=$(sha256sum) && printf "file=%s %s\n" "${sum%% *}" "$TAR_FILENAME"' 2>/dev/null
  fi
  say end whole
}
tell "$@" </dev/null
