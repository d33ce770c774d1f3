#!/bin/sh
# The stand-in's first boot, in its root file system. First it becomes what Fedora CoreOS is before Ignition runs: the
# user core with no way in, its groups, Docker not started. Then Ignition itself does what the firmware hands over.
set -eu
export PATH=/usr/sbin:/usr/bin LC_ALL=C
# Debian's sshd reads no directory of keys.
export IGNITION_WRITE_AUTHORIZED_KEYS_FRAGMENT=false
# Ignition labels files for SELinux, whose policy is not here.
PATH=/run/first:$PATH
ln -s /bin/true /run/first/setfiles
mkdir -p /etc/selinux
echo SELINUXTYPE=targeted >/etc/selinux/config
userdel --remove jetson 2>/dev/null
rm -f /etc/sudoers.d/jetson
groupadd wheel
useradd --create-home --shell /bin/bash --groups wheel core
printf '%%wheel ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/wheel
printf '/dev/vda4 / ext4 noinit_itable 0 1\n' >/etc/fstab
touch /var/lib/jetsonx-grown
systemctl --quiet disable docker.service docker.socket

modprobe qemu_fw_cfg
for stage in fetch-offline files; do
  /run/first/ignition --root=/ --platform=qemu --stage="$stage" --log-to-stdout
done
rm -r /etc/selinux
# What systemd does at the first boot of a system without a machine ID.
sed -n 's/^enable //p' /etc/systemd/system-preset/20-ignition.preset | xargs systemctl preset
