#!/bin/sh
# Put before each of our scripts that another machine's `sh` reads: they say what there is, a line of name=value each.
say() { # a process less where there is but one line: a device is asked forty things
  case $2 in
    *"
"*) printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')" ;;
    *) printf '%s=%s\n' "$1" "$2" ;;
  esac
}
limited() { if command -v timeout >/dev/null; then timeout 20 "$@"; else "$@"; fi; }
