#!/bin/sh
# Run once inside a new base image, as root on its own processor: what maintainer scripts and an administrator would do.
set -eu
export PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # nothing is to be started in here
chmod 755 /usr/sbin/policy-rc.d
ldconfig
arch=$(dpkg --print-architecture)
for script in /var/lib/dpkg/info/*.preinst; do
  package=${script##*/}
  package=${package%.preinst}
  DPKG_MAINTSCRIPT_PACKAGE=${package%:*} DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_ARCH=$arch DPKG_ROOT='' \
    "$script" install </dev/null || echo "jetsonx: $package: its preinst said $?"
done
# Each machine has a key of its own; none is made for the image.
touch /etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_ed25519_key
dpkg --configure --pending </dev/null
(
  cd /usr/share/ca-certificates
  find . -name '*.crt' | sed 's,^\./,,' | sort >/etc/ca-certificates.conf
  xargs cat </etc/ca-certificates.conf >/etc/ssl/certs/ca-certificates.crt
)
rm -rf /var/lib/dpkg/triggers
mv /var/lib/dpkg/triggers-after /var/lib/dpkg/triggers
ldconfig
depmod "$(ls /lib/modules)"
rm -f /usr/sbin/policy-rc.d /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
: >/etc/machine-id # made anew by systemd in each machine
useradd --create-home --shell /bin/bash --groups adm,docker,sudo,video,render jetson
printf 'jetson ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/jetson
chmod 440 /etc/sudoers.d/jetson
install -d -m 700 -o jetson -g jetson /home/jetson/.ssh
# Sessions are nobody's concern in here: without logind, and a manager of units for each user, a login takes a third.
systemctl -q mask systemd-logind.service
systemctl -q enable systemd-networkd.service ssh.service docker.service jetsonx-grow.service
systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer getty@tty1.service systemd-binfmt.service systemd-networkd-wait-online.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service
