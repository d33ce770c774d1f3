#!/bin/sh
# ar, ranlib, strip and ld for the target.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"
case ${0##*/} in
  *ar) jx_ar "$@" ;;
  *ranlib) jx_ranlib "$@" ;;
  *strip) jx_strip "$@" ;;
  *) jx_ld "$@" ;;
esac
