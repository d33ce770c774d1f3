#!/bin/sh
# Put before each of our scripts that another machine's `sh` reads: they say what there is, a line of name=value each.
say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"; }
limited() { if command -v timeout >/dev/null; then timeout 20 "$@"; else "$@"; fi; }
