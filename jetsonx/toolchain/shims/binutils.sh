#!/bin/sh
# ar, ld, nm, objcopy and the like for the target.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"
name=${0##*/}
"jx_${name##*-}" "$@"
