#!/bin/busybox sh
# The first program of a virtual Jetson, in its initial RAM disk: loads the disk's drivers and hands over to the system.
# With `jetsonx=install` on the kernel's command line it makes that system first, from the tar on the second disk. Else
# the second disk is the machine's own configuration: put in once, at its first start.
b=/bin/busybox
fail() {
  echo "jetsonx: failed: $*"
  $b sync
  $b poweroff -f
}
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do $b insmod "/modules/$module" || fail "driver $module"; done </modules/order
tries=0
while [ ! -b /dev/vda ] || [ ! -b /dev/vdb ]; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || fail "the disks do not show up"
  $b usleep 50000
done
# Inode tables that nobody uses yet are not written: they would fill the overlay with zeros.
$b mount -t ext4 -o noinit_itable /dev/vda /root || fail "the disk cannot be mounted"
if $b grep -q jetsonx=install /proc/cmdline; then
  echo "jetsonx: unpacking"
  $b tar -x -f /dev/vdb -C /root || fail "unpacking"
  for place in proc sys dev; do
    $b mkdir -p "/root/$place"
    $b mount --move "/$place" "/root/$place" || fail "$place"
  done
  echo "jetsonx: configuring"
  if $b chroot /root /bin/sh /jetsonx-setup; then
    $b rm /root/jetsonx-setup
    echo "jetsonx: installed"
  else
    echo "jetsonx: failed: configuring"
  fi
  $b sync
  $b umount /root/proc /root/sys
  $b mount -o remount,ro /root 2>/dev/null
  $b poweroff -f
fi
if [ ! -e /root/etc/jetsonx-vm ]; then
  echo "jetsonx: first start"
  $b tar -x -f /dev/vdb -C /root || fail "the configuration"
  $b sync
fi
for place in proc sys dev; do $b mount --move "/$place" "/root/$place"; done
exec $b switch_root /root /sbin/init
