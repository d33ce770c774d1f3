#!/bin/sh
# Jobs on a device that go on when the link breaks, each in a directory with its pid, output and exit status.
#   jobs.sh start NAME PROGRAM WORD...  starts one unless it is running: says `started` or `running`
#   jobs.sh look NAME OFFSET WAIT_S     says `running N`, `ended N STATUS`, `lost N` (killed, or the device went down) or
#                                       `none 0`, then N bytes of its output from OFFSET on; if there is nothing new to
#                                       say it waits for that, WAIT_S seconds at most
umask 077
verb=$1 name=$2
shift 2
dir="$HOME/.local/state/jetsonx/jobs/$name"
boot=$(cat /proc/sys/kernel/random/boot_id)
most=65536

state() {
  if [ -f "$dir/status" ]; then
    echo ended
  elif [ ! -d "$dir" ]; then
    echo none
  elif is_alive; then
    echo running
  elif [ -f "$dir/status" ]; then # it ended between the first look and the second
    echo ended
  else
    echo lost
  fi
}

# Its pid may be another's by now.
is_alive() {
  read -r pid since 2>/dev/null <"$dir/pid" || return 1
  [ "$since" = "$boot" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$dir"
}

start() {
  if [ "$(state)" = running ]; then
    echo running
    exit 0
  fi
  rm -rf "$dir"
  mkdir -p "$dir" || exit 1
  # shellcheck disable=SC2016 # expanded by the shell that is started
  setsid nohup sh -c 'dir=$1
    echo "$$ $2" >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid" || exit 1
    shift 2
    "$@" >"$dir/out" 2>&1
    echo $? >"$dir/status.new"
    mv "$dir/status.new" "$dir/status"' sh "$dir" "$boot" "$@" >/dev/null 2>&1 </dev/null &
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ ! -f "$dir/pid" ] || break
    sleep 0.1
  done
  [ -f "$dir/pid" ] && echo started
}

length() { stat -c %s "$dir/out" 2>/dev/null || echo 0; }

look() {
  ticks=$(($2 * 10))
  while [ "$ticks" -gt 0 ] && [ "$(length)" -le "$1" ] && [ "$(state)" = running ]; do
    ticks=$((ticks - 1))
    sleep 0.1
  done
  now=$(state)
  count=$(($(length) - $1))
  [ "$count" -ge 0 ] || count=0
  [ "$count" -le "$most" ] || count=$most
  echo "$now $count $(cat "$dir/status" 2>/dev/null)"
  [ "$count" = 0 ] || tail -c "+$(($1 + 1))" "$dir/out" | head -c "$count"
}

"$verb" "$@"
