#!/bin/busybox sh
# The first program of the stand-in for Fedora CoreOS, in its initial RAM disk, which is that of a virtual Jetson but for
# this: at the first boot alone, Ignition is run on the root file system before the system starts.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do $b insmod "/modules/$module"; done </modules/order
while [ ! -b /dev/vda4 ]; do $b usleep 50000; done
$b mount -t ext4 -o noinit_itable /dev/vda4 /root
if [ ! -e /root/etc/coreos-booted ]; then
  for place in proc sys dev; do $b mount -o bind "/$place" "/root/$place"; done
  $b mount -t tmpfs tmpfs /root/run
  $b mkdir /root/run/first
  $b cp /ignition /first.sh /root/run/first
  if $b chroot /root /run/first/first.sh; then
    $b touch /root/etc/coreos-booted
  else
    echo "stand-in: Ignition failed"
    $b poweroff -f
  fi
  $b umount /root/run /root/proc /root/sys /root/dev
fi
for place in proc sys dev; do $b mount --move "/$place" "/root/$place"; done
exec $b switch_root /root /sbin/init
