#!/bin/sh
# nvlink writes its -L and -l options into the program. Give it the archives those options name instead: it records no
# input files, so no directory of this workstation gets in.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"

newline='
'
directories=
mapped=
for word; do
  case $word in -L?*) jx_map_path "${word#-L}"; directories=$directories$mapped$newline ;; esac
done

n=$#
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  n=$((n - 1))
  case $word in
    -L?*) continue ;;
    -l?*)
      found=
      IFS=$newline
      for directory in $directories; do
        [ -z "$found" ] && [ -f "$directory/lib${word#-l}.a" ] && found=$directory/lib${word#-l}.a
      done
      unset IFS
      # A library that is only shared holds no relocatable device code.
      [ -z "$found" ] || set -- "$@" "$found"
      ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec @NVCC_ROOT@/bin/nvlink "$@"
