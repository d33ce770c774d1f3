# Gives back what disk_full.sh took.
rm -f /var/lib/jetsonx-full
sync
