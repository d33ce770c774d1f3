#!/bin/sh
# Makefiles ask uname which machine they build for, and mean the target. On PATH for make and for commands only: CMake
# and Meson ask it for the workstation, and know the target from elsewhere.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"
answer=$(command -p uname "$@") || exit
case $answer in
  *x86_64*)
    jx_note "uname $* answered for the target: aarch64"
    answer=$(printf '%s\n' "$answer" | command -p sed 's/x86_64/aarch64/g')
    ;;
esac
printf '%s\n' "$answer"
