# Releases that are directories of files, with `current` and `previous` as links to two of them, and, by choice, a user unit
# of systemd that runs what is in the current one. The functions here have equals in container.sh. A release is known by the
# name of its directory, and no engine is needed.
share=$HOME/.local/share/jetsonx/apps/$app
unit_name=jetsonx-$app.service
unit_file=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/$unit_name
engine_is_there() { :; }
find_engine() { :; }
limited_by() {
  seconds_left=$1
  shift
  if has timeout; then timeout -k 5 "$seconds_left" "$@"; else "$@"; fi
}
systemd() { # the user's own; who comes by ssh may not be told where it listens
  XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
  export XDG_RUNTIME_DIR
  limited_by "${patience:-60}" systemctl --user "$@" 9>&-
}
exists() { [ -n "$1" ] && [ -d "$share/releases/$1" ]; }
read_link() { # $1: current or previous
  target=$(readlink "$share/$1" 2>/dev/null)
  target=${target#releases/}
  if exists "$target"; then printf '%s\n' "$target"; fi
}
find_id() {
  owner=$app
  case $1 in
    "$app") id=$(read_link current) ;;
    "$app.prev") id=$(read_link previous) ;;
    *) id='' ;;
  esac
}
named() { # the release $1 is the current one, or the one before; that it is neither needs no name
  case $2 in
    "$app") link=current ;;
    "$app.prev") link=previous ;;
    *) return 0 ;;
  esac
  [ "$(read_link "$link")" != "$1" ] || return 0
  rm -f "$share/$link.part"
  ln -s "releases/$1" "$share/$link.part" && mv -fT "$share/$link.part" "$share/$link" 2>>"$said"
}
value_of() { sed -n "s/^$2=//p" "$home/releases/$1/release" 2>/dev/null; } # $2: one whose values need no quotes
has_unit() { [ "$(value_of "$1" unit)" = 1 ]; }
in_unit() { sed -n '1s/^# release //p' "$unit_file" 2>/dev/null; } # the release that the unit runs
is_running() { # without a unit, others start what is current
  exists "$1" || return 1
  if ! has_unit "$1"; then [ "$(read_link current)" = "$1" ]; else [ "$(in_unit)" = "$1" ] && systemd is-active --quiet "$unit_name"; fi
}
find_made() { # what this operation made, if anything
  made=''
  if [ "$kind" = switch ] && exists "$dir"; then made=$dir; fi
}
is_modified() { return 1; }
make_clean() { :; }
directory_of() { printf '%s\n' "$1"; }
note_old() { if is_running "$old"; then old_running=1; fi; }

put_program() { # what is started in a release's directory with its environment: $1 its state, $2 the directory, $3 the words
  cat <<'END' | put "$home/releases/$dir/run"
cd "$2" || exit
JETSONX_SECRETS="$1/secrets"
add_libraries() { for folder in "$@"; do LD_LIBRARY_PATH="$PWD/$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; done; }
. "$1/release"
with_libraries add_libraries
if [ -n "${LD_LIBRARY_PATH:-}" ]; then export LD_LIBRARY_PATH; fi
with_env export JETSONX_SECRETS
if [ "$3" = inside ]; then
  shift 3
  exec "$@"
fi
with_words exec
END
}
unpack_new() { # $1: an empty directory; what was sent, else what an earlier release of the same files has
  if [ -f "$state/staging/$payload" ]; then
    tar -xpof "$state/staging/$payload" -C "$1" 2>>"$said"
    return
  fi
  for place in "$home/releases"/*; do
    earlier=${place##*/}
    if [ "$earlier" = "$dir" ] || ! exists "$earlier" || [ "$(value_of "$earlier" payload)" != "$payload" ]; then continue; fi
    # shellcheck disable=SC2015 # either of them failing means the same
    (cd "$share/releases/$earlier" && sha256sum -c "$place/sums") >/dev/null 2>&1 &&
      cp -Rp "$share/releases/$earlier/." "$1" 2>>"$said" && return
  done
  echo 'the files of the release are not there, or were changed there: deploy with --method full' >>"$said"
  return 1
}
create_new() {
  find_new && return
  [ -n "$dir" ] || return 1
  part=$share/releases/$dir.part
  rm -rf "$part"
  put_program && mkdir -p "$part" && unpack_new "$part" || return 1
  (cd "$part" && find . -type f -exec sha256sum {} +) | put "$home/releases/$dir/sums" || return 1
  { sync -f "$part" 2>/dev/null || sync; } && mv "$part" "$share/releases/$dir" && find_new
}
test_new() { # files can be tried before they are current; a program that a unit runs has to be started first
  # shellcheck disable=SC2154 # of the release
  if [ "$unit" = 1 ] || [ "$health" != command ]; then return 0; fi
  if (limit=$health_timeout && with_health run_inside) >"$run/words" 2>&1; then return 0; fi
  why="its health check failed before it became current"
  return 1
}
run_inside() {
  limited_by "$health_timeout" sh "$home/releases/$new/run" "$home/releases/$new" "$share/releases/$new" inside "$@" 2>&1 9>&-
}
write_unit() { # of the release $1; in its words, % and $ would be systemd's
  mkdir -p "${unit_file%/*}" && {
    printf '# release %s\n[Unit]\nDescription=%s, brought by jetsonx\n\n[Service]\n' "$1" "$app"
    printf 'ExecStart=/bin/sh "%s" "%s" "%s"\n' "$(unit_word "$home/releases/$1/run")" \
      "$(unit_word "$home/releases/$1")" "$(unit_word "$share/releases/$1")"
    printf 'Restart=%s\nRestartSec=1\nTimeoutStopSec=%s\n\n' "$(value_of "$1" unit_restart)" "$(value_of "$1" stop_timeout)"
    printf '[Install]\nWantedBy=default.target\n'
  } | put "$unit_file" && systemd daemon-reload 2>>"$said"
}
unit_word() { printf %s "$1" | sed 's/\\/\\\\/g; s/"/\\"/g; s/%/%%/g; s/\$/$$/g'; }
start_it() {
  has_unit "$1" || return 0
  write_unit "$1" && systemd enable "$unit_name" >/dev/null 2>>"$said"
  systemd reset-failed "$unit_name" >/dev/null 2>&1
  systemd restart "$unit_name" 2>>"$said"
}
stop_unit() {
  stop_s=$(value_of "$(in_unit)" stop_timeout)
  (patience=$((${stop_s:-10} + 30)) && systemd stop "$unit_name") >/dev/null 2>>"$said"
}
remove_unit() {
  stop_unit
  systemd disable "$unit_name" >/dev/null 2>&1
  rm -f "$unit_file"
  systemd daemon-reload 2>>"$said"
}
stop_old() {
  if ! exists "$old" || [ "$(in_unit)" != "$old" ]; then return 0; fi
  if [ -z "$stopped" ]; then stopped=$(now); fi
  if [ "$unit" = 1 ]; then stop_unit; else remove_unit; fi
}
restore_policy() { :; }
move_tags() { rm -f "$state/staging/$payload"; } # it is unpacked
retire() { :; }
rest_new() { :; }
take_new_away() {
  rm -rf "$share/releases/$dir.part"
  find_new || return 0
  if [ "$unit" = 1 ]; then
    journalctl --user -u "$unit_name" -n 50 -o cat 2>/dev/null | tail -c 16384 >"$run/log"
  else
    tail -n 50 "$run/words" 2>/dev/null | tail -c 16384 >"$run/log"
  fi
  keep_log
  if exists "$old"; then named "$old" "$app" || return 1; elif [ "$(read_link current)" = "$new" ]; then rm -f "$share/current"; fi
  if [ "$(in_unit)" = "$new" ]; then remove_unit; fi
  if [ "$kind" = switch ]; then rm -rf "$share/releases/$new"; fi
}
restore_old() {
  if has_unit "$old" && [ "$(in_unit)" != "$old" ]; then write_unit "$old" || return 1; fi
  if [ "$(read_link previous)" = "$old" ]; then rm -f "$share/previous"; fi # what was before it comes back to that
  named "$old" "$app"
}
look() { # as Docker would say it: state, times it was started again, exit status, -, when it was started
  if [ "$unit" != 1 ]; then
    seen='running 0 0 - 0'
    return
  fi
  systemd show -p ActiveState -p NRestarts -p ExecMainStatus -p ActiveEnterTimestampMonotonic "$unit_name" >"$run/answer" 2>>"$said" || return 1
  asked() { sed -n "s/^$1=//p" "$run/answer" | grep . || echo 0; }
  case $(asked ActiveState) in
    active) condition=running ;;
    activating) condition=restarting ;;
    *) condition=exited ;;
  esac
  seen="$condition $(asked NRestarts) $(asked ExecMainStatus) - $(asked ActiveEnterTimestampMonotonic)"
}

superfluous() { # $1: how many earlier releases are kept, that before the current one first, then the newest
  current=$(read_link current) previous=$(read_link previous)
  directories | while read -r name; do
    case $name in
      "$current") ;;
      "$previous") echo "999999999999 $name" ;;
      *) echo "$(number_of "$name") $name" ;;
    esac
  done | sort -rn | awk -v left="$1" 'left > 0 { left--; next } { print $2 }'
}
remove_it() { rm -rf "$share/releases/$1"; }
drop_reference() { :; }
directories() {
  for place in "$share/releases"/*; do
    case $place in *.part) ;; *) if [ -d "$place" ]; then printf '%s\n' "${place##*/}"; fi ;; esac
  done
}
title_of() { printf 'files %s' "$1"; }
temporary() {
  for place in "$share/releases"/*.part; do if [ -e "$place" ]; then printf '%s\n' "${place##*/}"; fi; done
}
remove_temporary() { rm -rf "$share/releases/$1"; }
stop_it() {
  if [ "$(in_unit)" != "$old" ]; then
    refuse 'it has no unit: jetsonx did not start it'
  fi
  systemd disable "$unit_name" >/dev/null 2>>"$said"
  stop_unit
}
