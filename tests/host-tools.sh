#!/bin/sh
# Install what the integration tests need on this host. Names on the left are programs, on the right Debian packages.
set -eu
missing=
while read -r program package; do
  command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
done <<'LIST'
qemu-aarch64-static qemu-user-static
aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
mmdebstrap mmdebstrap
readelf binutils
gcc gcc libc6-dev
dockerd docker.io
iptables iptables
skopeo skopeo
ccache ccache
pkg-config pkg-config
shellcheck shellcheck
LIST
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null 2>&1; then sudo="sudo"; else
  echo "not installed and no root to install them:$missing; the tests that need them will say so" >&2
  exit 0
fi
echo "installing for the integration tests:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# shellcheck disable=SC2086 # words, by design
$sudo apt-get install -q -y --no-install-recommends $missing
