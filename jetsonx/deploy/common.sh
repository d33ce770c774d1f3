# What every operation on an app needs: where its files lie, its engine, its lock and its journal. The request, which sets
# `app`, `op`, `kind`, `who`, `stamp` and what else the operation takes, stands before this. Nothing runs until the last
# line of the whole script, so that one that came cut off does nothing. No date is read: the clock may be years wrong.
state=$HOME/.local/state/jetsonx
home=$state/apps/$app
run=$state/runs/$op
said=$run/said
old='' new='' older='' old_restart=no old_running=0 dir='' stopped='' started='' why='' step='' recovered='' fault=''
started_again='' failed_at='' old_stop='' history='' boot='' began='' nested=0
has() { command -v "$1" >/dev/null 2>&1; }
nap() { sleep 0.2 2>/dev/null || sleep 1; }
boot_id() { cat /proc/sys/kernel/random/boot_id 2>/dev/null; }
now() { # hundredths of a second since the device came up
  read -r up _ </proc/uptime
  echo $((${up%.*} * 100 + 1${up#*.} - 100))
}
seconds() { # $1: hundredths of a second
  case $1 in '' | *[!0-9]*) printf null ;; *) printf '%d.%02d' $(($1 / 100)) $(($1 % 100)) ;; esac
}
put() { # standard input becomes the file $1: it is either the old one or the whole new one, after a power cut too
  if cat >"$1.part" && { sync "$1.part" 2>/dev/null || sync; } && mv -f "$1.part" "$1"; then return; fi
  rm -f "$1.part"
  return 1
}
keep_room() { # for what is to be written down when somebody else fills the disk meanwhile; random, as it cannot be packed
  [ -e "$home/reserve" ] || head -c 262144 /dev/urandom >"$home/reserve" || { rm -f "$home/reserve" && return 1; }
}
insist() { # "$@": what writes something down; on a full disk in the room that is kept
  "$@" || { [ -e "$home/reserve" ] && rm -f "$home/reserve" && "$@"; }
}
free_kib() { df -Pk "$home" 2>/dev/null | awk 'NR == 2 { print $(NF - 2) }'; }
no_room() { printf 'nothing can be written in %s any more: %s kB are free' "$home" "$(free_kib)"; }
last_words() { tail -n 1 "$said" 2>/dev/null | sed 's/^Error response from daemon: //'; }

await_engine() { # a dockerd that is restarted comes back within seconds
  tries=0
  until engine_is_there; do
    tries=$((tries + 1))
    [ "$tries" -le 60 ] || return 1
    sleep 1
  done
}
attempt() { # "$@": what may be done twice; again when the engine went away meanwhile
  round=0
  until "$@"; do
    if ! engine_is_there && ! await_engine; then leave; fi
    round=$((round + 1))
    [ "$round" -lt 2 ] || return 1
    if [ "$(free_kib)" -lt 256 ] 2>/dev/null; then rm -f "$home/reserve"; fi # the engine's files may lie on the same disk
  done
}
leave() { # the journal stays, and the next operation goes on from it
  fault="the engine of the device went away and did not come back"
  if engine_is_there; then fault="what is left to do fails: $(last_words)"; fi
  finish unfinished
}
stall() { # as above, until there is room
  fault=$(no_room)
  finish unfinished
}
ask_again() { # after a question that the engine did not answer; its silence is never taken for a no
  unanswered=$((unanswered + 1))
  if [ "$unanswered" -gt 20 ] || ! await_engine; then leave; fi
  nap
}
birth() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; } # when a process began, so that a number is one
held_by() { sed -n "s/^$1=//p" "$home/holder" 2>/dev/null; }
holder_lives() { # whoever wrote the file is still at work; a number may be another's by now, after a reboot surely is
  pid=$(held_by pid)
  [ -n "$pid" ] && [ "$(held_by boot)" = "$(boot_id)" ] && [ "$(held_by birth)" = "$(birth "$pid")" ]
}
try_lock() {
  if has flock; then
    exec 9>>"$home/lock"
    flock -n 9 # what we started holds it too, until it ends: nothing of a killed operation is under way any more then
    return
  fi
  ln -s "$(process $$)" "$home/lock.by" 2>/dev/null && return
  other=$(readlink "$home/lock.by") && [ "$other" != "$(process "${other%%.*}")" ] || return 1
  mv "$home/lock.by" "$run/lock.dead" 2>/dev/null && ln -s "$(process $$)" "$home/lock.by" 2>/dev/null
}
process() { echo "$1.$(birth "$1").$(boot_id)"; } # a process that no other ever was
take_lock() { # without room to say who has it, `why` says so
  if ! mkdir -p "$home" || ! true >>"$home/lock"; then why=$(no_room) && return 1; fi
  tries=0
  until try_lock; do
    tries=$((tries + 1))
    if holder_lives || [ "$tries" -gt 300 ]; then return 1; fi
    nap
  done
  if ! insist put_holder; then why=$(no_room) && drop_lock && return 1; fi
}
put_holder() {
  printf 'pid=%s\nbirth=%s\nboot=%s\nop=%s\nkind=%s\nwho=%s\nwhen=%s\n' \
    "$$" "$(birth $$)" "$(boot_id)" "$op" "$kind" "$who" "$stamp" | put "$home/holder"
}
drop_lock() {
  trap - EXIT
  rm -f "$home/holder" "$home/lock.by" "$home/reserve"
  exec 9>&-
}

mark() { # $1: the step that begins now; false when that cannot be written down
  step=$1
  insist put_journal || return 1
  printf '%s\n' "$step" >"$run/step" || true # for who looks on
}
put_journal() {
  for name in step op kind backend blue_green old old_restart old_running older new dir stopped boot why failed_at entry; do
    eval "printf '%s=%s\n' $name \"\$$name\""
  done | put "$home/journal"
}
read_journal() {
  backend=container # journals that do not say it are of releases before there was another
  while IFS= read -r line; do
    name=${line%%=*}
    case $name in
      step | op | kind | backend | blue_green | old | old_restart | old_running | older | new | dir | stopped | boot | why | failed_at | entry)
        eval "$name=\${line#*=}"
        ;;
    esac
  done <"$home/journal"
}

downtime() { # hundredths of a second without a running release; "" when the device was rebooted meanwhile
  if [ "$blue_green" = 1 ]; then
    echo 0
  elif [ "$boot" = "$(boot_id)" ] && [ -n "$stopped" ] && [ -n "$started" ]; then echo $((started - stopped)); fi
}
tell() { # $1: outcome; the result, for whoever asks
  {
    printf 'outcome=%s\nop=%s\nkind=%s\nstep=%s\nwhy=%s\nfault=%s\n' "$1" "$op" "$kind" "${failed_at:-$step}" "$why" "$fault"
    printf 'seconds=%s\ndowntime=%s\n' "$(seconds $(($(now) - began)))" "$(seconds "$(downtime)")"
    if [ -n "$recovered" ]; then printf 'recovered=%s\n' "$recovered"; fi
    if [ -e "$run/earlier" ]; then sed 's/^/history=/' "$run/earlier"; fi
    if [ -n "$history" ]; then printf 'history=%s\n' "$history"; fi
    if [ -e "$run/more" ]; then cat "$run/more"; fi
    case $1:$kind in rolled-back:* | failed:* | ok:sync) if [ -e "$run/log" ]; then sed 's/^/log=/' "$run/log"; fi ;; esac
    if [ -s "$said" ]; then tail -c 4096 "$said" | tail -n 10 | sed 's/^/said=/'; fi
    printf 'end=whole\n'
  } | put "$run/outcome"
}
finish() { # $1: outcome; who reads it may begin the next operation at once
  tell "$1"
  if [ "$nested" = 0 ]; then drop_lock; fi
  mv "$run/outcome" "$run/result"
  exit 0
}
record() { # $1: outcome; once for each operation, whoever carries it to its end
  [ -n "$entry" ] || return 0
  history=$(grep -F "\"op\": \"$op\"" "$home/history.jsonl" 2>/dev/null | tail -n 1)
  [ -z "$history" ] || return 0
  history="$entry, \"outcome\": \"$1\", \"step\": \"${failed_at:-$step}\", \"seconds\": $(seconds $(($(now) - began)))"
  history="$history, \"downtime\": $(seconds "$(downtime)")}"
  if insist put_history; then return; fi
  history='' # what the device does not know, nobody else shall
  return 1
}
put_history() { { tail -n 199 "$home/history.jsonl" 2>/dev/null; printf '%s\n' "$history"; } | put "$home/history.jsonl"; }
end() { # $1: outcome; it is told before the journal goes, so that one or the other is there
  if ! { record "$1" && insist tell "$1"; } && [ -e "$home/journal" ]; then stall; fi
  rm -f "$home/journal"
  finish "$1"
}
