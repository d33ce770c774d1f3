# One switch of an app from what runs to another release, or back. Every step can be done twice, and is journaled before it
# begins; `recover` goes on from the journal and from what releases there are. Old and new are known by their IDs, so that
# it does not matter which names they had come to. The names are changed while the old release still runs: between its stop
# and the start of the new one there is nothing else to do.
find_new() { # what this operation made; of an operation that makes nothing, what its journal says
  [ "$kind" = switch ] || { exists "$new" && return; }
  find_made
  new=$made
  [ -n "$new" ]
}
load_release() { # $1: a directory of an earlier release, with how it is started and judged
  case $1 in '' | */* | .*) return 1 ;; esac
  [ -e "$home/releases/$1/release" ] || return 1
  # shellcheck disable=SC1090 # quoted words, written below
  . "$home/releases/$1/release"
}
put_secret() { printf '%s' "$2" | base64 -d | put "$home/releases/$dir/secrets/$1" && chmod 444 "$home/releases/$dir/secrets/$1"; }
put_release() { # secrets can be read by whoever the container's program runs as, and on the device by its user alone
  number=$(($(sed -n 's/^\([0-9]\{1,9\}\)$/\1/p' "$home/number" 2>/dev/null || echo 0) + 1))
  dir=$release.$number
  echo "$number" | put "$home/number" || return 1 # the next one must get another, as this one's files may be in use
  rm -rf "$home/releases/$dir"
  mkdir -p "$home/releases/$dir/secrets" && chmod 700 "$home/releases/$dir/secrets" &&
    printf '%s' "$release_text" | put "$home/releases/$dir/release" && put_secrets && return
  rm -rf "$home/releases/$dir"
  return 1
}
rename_all() { # the one before the last makes room for the last
  if exists "$older" && exists "$old"; then named "$older" "$app.old.$op" || return 1; fi
  if [ "$kind" = rollback ]; then named "$new" "$app.next" || return 1; fi
  if exists "$old"; then named "$old" "$app.prev" || return 1; fi
  named "$new" "$app"
}
start_new() { start_it "$new" && started=$(now); }
advance() { # $1: step; the rest: what it does; what cannot be journaled is not begun
  mark "$1" || give_up
  shift
  attempt "$@" || undo
}
give_up() {
  why=$(no_room)
  if [ -e "$home/journal" ]; then undo; fi
  refuse "$why"
}
judge() { # once: it waits for the engine by itself; without room for the journal, what that says leads here too
  mark gate
  pass_gate || undo
}

take_backend() { # $1: container or files
  case $1 in
    files) use_files ;;
    *) use_container ;;
  esac
  find_engine || await_engine || leave
}
begin() {
  was=container
  if [ -e "$home/files" ]; then was=files; fi
  if [ -e "$home/number" ] && [ "$was" != "$backend" ]; then refuse "an app of that name is there in another form ($was)"; fi
  mkdir -p "$home/releases"
  if [ "$backend" = files ]; then true >"$home/files" || refuse "$(no_room)"; fi
  find_ours "$app.next"
  find_ours "$app.prev"
  before=$id
  find_ours "$app"
  old=$id
  boot=$(boot_id)
  if [ -n "$old" ]; then note_old; fi
}
find_ours() { # $1: a name
  find_id "$1"
  if [ -n "$id" ] && [ "$owner" != "$app" ]; then refuse "the device has a container of that name that jetsonx did not make"; fi
}
refuse() { # $1: why; nothing was changed
  why=$1 failed_at=begin
  end failed
}
switch_release() {
  begin
  older=$before
  mark create || give_up
  attempt put_release || give_up
  load_release "$dir" || undo
  advance create create_new
  test_new || undo
  go_on
}
roll_back() {
  begin
  new=$before
  [ -n "$new" ] || refuse "there is no earlier release on the device"
  if [ "$new" != "$expected" ]; then refuse "another release became the earlier one meanwhile"; fi
  dir=$(directory_of "$new")
  load_release "$dir" || refuse "what the earlier release is made of is not known any more: $home/releases/$dir"
  blue_green=0
  if is_modified "$new"; then
    advance clean make_clean
  fi
  go_on
}
go_on() {
  if [ "$blue_green" = 1 ]; then
    advance start start_new
  else
    advance rename rename_all
    advance stop stop_old
    step=start # not journaled: this is the downtime, and whether it runs can be seen
    attempt start_new || undo
  fi
  judge
  settle
}
keep_up() { # an engine that was killed takes what ran along, and may not start it again
  look || return 1
  # shellcheck disable=SC2086 # five words
  set -- $seen
  case $1:$restart in running:* | restarting:* | *:no) return ;; esac
  is_done "$1" "$3" || start_new
}
stay_up() {
  attempt keep_up && return
  why='it was well, and did not start again when the engine was back'
  undo
}
settle() { # the new release is healthy: from here on there is only forwards
  mark healthy # without room for that it is judged again, should this be interrupted
  if [ "$blue_green" = 1 ]; then # else it was done before the old one was stopped
    attempt rename_all || leave
    stay_up
  fi
  if [ -n "$old" ]; then attempt retire || leave; fi
  if [ "$kind" = rollback ]; then attempt restore_policy || leave; fi
  attempt move_tags # a name is not worth more than the release that runs
  stay_up
  record ok
  prune_releases "$keep"
  end ok
}

undo() { # back to the old release, from wherever it is
  if [ "$step" != undo ]; then
    failed_at=$step
    if [ -z "$why" ]; then why=$(sed -n 's/^Error response from daemon: //p' "$said" 2>/dev/null | tail -n 1); fi
    why=${why:-$(last_words)}
  fi
  mark undo # without room for that, what is there leads here again
  attempt take_new_away || leave
  if exists "$old"; then
    if [ "$old_running" = 1 ]; then attempt start_old; fi # first of all; whether it did is looked at in the end
    attempt restore_old || leave
  fi
  if exists "$older"; then attempt named "$older" "$app.prev" || leave; fi
  if [ "$kind" = rollback ] && exists "$new"; then
    rest_new
    attempt named "$new" "$app.prev" || leave
  elif [ -n "$dir" ] && [ "$kind" = switch ]; then
    rm -rf "$home/releases/$dir"
    # Its image stays for a better release to build upon, until that is there.
    { cat "$home/unused" 2>/dev/null; printf '%s\n' "$reference"; } | put "$home/unused"
  fi
  if ! exists "$old"; then end failed; fi
  if [ "$old_running" = 1 ] && ! is_running "$old" && ! { attempt start_old && is_running "$old"; }; then
    why="$why; and the old release does not run either"
    end failed
  fi
  end rolled-back
}
start_old() {
  start_it "$old" || return 1
  if [ -n "$stopped" ] && [ "$started_again" = '' ]; then started=$(now) started_again=1; fi
}
keep_log() { { printf '%s\n' "$dir" "$why" && cat "$run/log"; } | put "$home/failed"; }

recover() { # as far as the journal of an operation says it came, forwards or back
  read_journal
  nested=1
  run=$state/runs/$op said=$state/runs/$op/said history=''
  mkdir -p "$run"
  take_backend "$backend"
  case $kind in
    sync) put_files ;;
    debug) end_debug ;;
  esac
  if load_release "$dir"; then
    case $step in
      clean) attempt make_clean || leave ;;
      healthy) if find_new; then settle; fi ;;
      stop | start | gate)
        if find_new && is_running "$new"; then
          judge
          settle
        fi
        ;;
    esac
  fi
  why=${why:-it was interrupted}
  undo
}
recover_first() { # says what became of it in `recovered`
  [ -e "$home/journal" ] || return 0
  unfinished=$(sed -n 's/^op=//p' "$home/journal")
  (recover)
  if [ -e "$home/journal" ]; then
    fault="an operation that was interrupted could not be brought to its end yet"
    finish unfinished
  fi
  recovered=$(sed -n 's/^outcome=//p' "$state/runs/$unfinished/result")
  before_it=$(sed -n 's/^history=//p' "$state/runs/$unfinished/result")
  if [ -n "$before_it" ]; then printf '%s\n' "$before_it" >"$run/earlier"; fi
}
