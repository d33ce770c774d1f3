#!/bin/sh
# pkg-config that sees the sysroot's packages and nothing of this workstation.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"
PKG_CONFIG_SYSROOT_DIR=$JX_SYSROOT
PKG_CONFIG_LIBDIR=$JX_SYSROOT/usr/lib/aarch64-linux-gnu/pkgconfig:$JX_SYSROOT/usr/lib/pkgconfig:$JX_SYSROOT/usr/share/pkgconfig
PKG_CONFIG_LIBDIR=$PKG_CONFIG_LIBDIR:$JX_CUDA/lib/pkgconfig
export PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR
unset PKG_CONFIG_PATH
jx_pkg_config "$@"
