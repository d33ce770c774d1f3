# Takes all room on the guest's disk, root's share too, without writing it: blocks are reserved in ever smaller pieces.
file=/var/lib/jetsonx-full
size=$(($(stat -f -c '%f * %S' /)))
have=0
while [ "$size" -ge 4096 ]; do
  if fallocate -o "$have" -l "$size" "$file" 2>/dev/null; then have=$((have + size)); fi
  size=$((size / 2 / 4096 * 4096))
done
sync
[ "$have" -gt 0 ]
