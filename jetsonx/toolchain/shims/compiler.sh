#!/bin/sh
# The target's C or C++ compiler, under every name a build file may use for one.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"

link=yes
before=
mapped=
n=$#
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  n=$((n - 1))
  case $word in
    -c | -E | -S | -M | -MM | -fsyntax-only) link= ;;
    -I/* | -L/*)
      jx_map_path "${word#-?}"
      word=${word%"${word#-?}"}$mapped
      ;;
    -isystem/*) jx_map_path "${word#-isystem}"; word=-isystem$mapped ;;
    "$JX_SYSROOT"/*) jx_map_path "$word"; word=$mapped ;;
    /usr/* | /lib/*)
      # A directory after a lone -I, -L or -isystem; an existing source file or library of the host stays what it is.
      case $before in -I | -L | -isystem | -idirafter) jx_map_path "$word"; word=$mapped ;; esac
      ;;
    -Wl,-rpath-link* | -Wl,--rpath-link*) ;;
    -Wl,-rpath* | -Wl,--rpath* | -Wl,-R*)
      jx_map_rpath "$word"
      word=$mapped
      # CMake pads a run path with colons to make room for the installed one; to the loader an empty entry is the
      # current directory.
      [ "$JETSONX_TRIM_RPATH" != 1 ] || while [ "${word%:}" != "$word" ]; do word=${word%:}; done
      ;;
    -Wl,/*) case $before in -Wl,-rpath | -Wl,--rpath | -Wl,-R) jx_map_rpath "$word"; word=$mapped ;; esac ;;
    -march=native | -mcpu=native)
      jx_note "$word replaced by the target's ${JX_CPU_FLAGS:-baseline}"
      before=$word
      continue
      ;;
    -mtune=native | --sysroot=*) continue ;; # the sysroot is given below, as GNU ld needs it
    -m64 | -march=x86-64* | -msse* | -mavx* | -mfma | -mf16c)
      # x86 flags would stop an AArch64 compiler; the target's own are given below.
      jx_note "$word left out: not an AArch64 flag"
      continue
      ;;
  esac
  before=$word
  set -- "$@" "$word"
done

# No path of this workstation in the output: not in __FILE__, not in debug information.
set -- "-ffile-prefix-map=$JX_CACHE=/jetsonx" "$@"
[ -z "$JETSONX_BUILD_DIR" ] || set -- "-ffile-prefix-map=$JETSONX_BUILD_DIR=./build" "$@"
[ -z "$JETSONX_SOURCE_DIR" ] || set -- "-ffile-prefix-map=$JETSONX_SOURCE_DIR=." "$@"

set -- "$@" -idirafter "$JX_CUDA/include"
if [ -n "$link" ]; then
  set -- "$@" "-L$JX_CUDA/lib" "-L$JX_CUDA/lib/stubs"
  # Libraries that libraries need: GNU ld wants to see them too, the driver's among them.
  set -- "$@" "-Wl,-rpath-link,$JX_CUDA/lib:$JX_SDK/share/driver-stubs"
  [ "$JETSONX_STRIP" != 1 ] || set -- "$@" -Wl,-s
fi
case ${0##*/} in
  *++ | *++-[0-9]*) jx_cxx "$@" ;;
  *) jx_cc "$@" ;;
esac
