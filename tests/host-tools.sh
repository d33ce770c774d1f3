#!/bin/sh
# Install what the integration tests need on this host. Names on the left are programs, on the right Debian packages.
# $1: more of such lines, for others than the tests.
set -eu
PATH="$PATH:/usr/sbin:/sbin" # where sshd is, and not in everybody's PATH
missing=
while read -r program package; do
  [ -z "$program" ] || command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
done <<LIST
qemu-aarch64-static qemu-user-static
aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
mmdebstrap mmdebstrap
readelf binutils
gcc gcc libc6-dev
dockerd docker.io
iptables iptables
ip iproute2
pgrep procps
qemu-system-aarch64 qemu-system-arm
qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
sfdisk fdisk
mcopy mtools
/usr/share/AAVMF/AAVMF_CODE.fd qemu-efi-aarch64
libvirtd libvirt-daemon
virsh libvirt-clients
nc.openbsd netcat-openbsd
xmllint libxml2-utils
ignition-validate ignition
7z p7zip-full
mke2fs e2fsprogs
skopeo skopeo
umoci umoci
docker-registry docker-registry
htpasswd apache2-utils
openssl openssl
sshd openssh-server
ssh openssh-client
curl curl
igzip isal
zstd zstd
ccache ccache
pkg-config pkg-config
shellcheck shellcheck
busybox busybox-static
gdb-multiarch gdb-multiarch
websockify websockify novnc
chromium chromium
${1:-}
LIST
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null 2>&1; then sudo="sudo"; else
  echo "not installed and no root to install them:$missing; the tests that need them will say so" >&2
  exit 0
fi
echo "installing for the integration tests:$missing" >&2

# Packages with a service (an SSH server, a registry, a Docker daemon) start it when they are installed, and again at
# every boot. Nobody asked for servers on this machine: the tests start what they need themselves, on loopback and in
# directories of their own. policy-rc.d (see invoke-rc.d(8)) refuses every start while apt is at work; a host that has
# one already keeps it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '$sudo rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# shellcheck disable=SC2086 # words, by design
$sudo apt-get install -q -y --no-install-recommends $missing
# shellcheck disable=SC2086
units=$(dpkg-query -L $missing | sed -n 's,.*/lib/systemd/system/\([^/@]*\.\(service\|socket\)\)$,\1,p')
if [ -n "$units" ] && command -v systemctl >/dev/null 2>&1; then
  # shellcheck disable=SC2086
  $sudo systemctl disable --quiet $units || true
fi
