# What is not needed any more, and the beginning of every operation.
number_of() { # $1: a directory of a release, RELEASE.NUMBER
  number=${1##*.}
  case $number in '' | *[!0-9]*) echo 0 ;; *) echo "$number" ;; esac
}
prune_releases() { # $1: how many earlier ones stay
  for id in $(superfluous "$1"); do remove_it "$id"; done
  if [ -e "$home/unused" ]; then
    while IFS= read -r name; do drop_reference "$name"; done <"$home/unused"
    rm -f "$home/unused"
  fi
  if in_use=$(directories); then # an engine that does not answer may have any of them in use
    for place in "$home/releases"/*; do
      [ -d "$place" ] || continue
      if ! printf '%s\n' "$in_use" | grep -qxF -- "${place##*/}"; then rm -rf "$place"; fi
    done
  fi
  for file in "$home/contents"/*; do
    if [ -e "$file" ] && ! exists "${file##*/}"; then rm -f "$file"; fi
  done
  rmdir "$home/contents" 2>/dev/null
  for place in "$state/runs"/*; do
    if [ "$place" != "$run" ] && [ -e "$place/result" ] && [ "$(cat "$place/app" 2>/dev/null)" = "$app" ]; then rm -rf "$place"; fi
  done
}
show_prune() { # $1: as above
  for id in $(superfluous "$1"); do printf 'would=%s\n' "$(title_of "$id")"; done
  for id in $(temporary); do printf 'would=%s\n' "$(title_of "$id")"; done
  for file in "$state/staging"/*; do
    if [ -f "$file" ]; then printf 'would=staged %s\n' "${file##*/}"; fi
  done
}
prune_all() {
  find_id "$app"
  load_release "$(directory_of "$id")" || keep=1
  show_prune "$keep" >"$run/more"
  [ "$dry_run" = 0 ] || return 0
  sed 's/^would=/removed=/' "$run/more" | put "$run/more"
  prune_releases "$keep"
  for id in $(temporary); do remove_temporary "$id"; done
  for place in "$state/runs"/*; do # whose operation was killed, before it could take the script away
    read -r pid born 2>/dev/null <"$place/process" || pid='' born=''
    if [ "$place" != "$run" ] && { [ -z "$pid" ] || [ "$(birth "$pid")" != "$born" ]; }; then rm -rf "$place"; fi
  done
  for file in "$state/staging"/*; do
    if [ ! -f "$file" ]; then continue; fi
    if has flock; then flock -n "$file" rm -f "$file"; else rm -f "$file"; fi # one that is being received is locked
  done
}
stop_app() {
  find_id "$app"
  old=$id
  if [ -z "$old" ] || [ "$owner" != "$app" ]; then refuse "no release of it is there"; fi
  attempt stop_it || leave
}
jetsonx_main() {
  umask 077
  mkdir "$run/begun" 2>/dev/null || exit 0 # it was sent twice, by a link that broke
  began=$(now)
  # Nobody would know that it is at work.
  if ! printf '%s\n' "$app" >"$run/app" || ! printf '%s %s\n' "$$" "$(birth $$)" >"$run/process"; then exit 1; fi
  rm -f "$run/script"
  entry=${entry:-}
  if ! take_lock; then
    failed_at=begin ending=failed
    if [ -z "$why" ]; then
      fault="$(held_by who) has been at it since $(held_by when) ($(held_by kind))" ending=busy
    fi
    tell "$ending"
    mv "$run/outcome" "$run/result"
    exit 0
  fi
  trap drop_lock EXIT
  done_before=$(grep -F "\"op\": \"$op\"" "$home/history.jsonl" 2>/dev/null | sed -n 's/.*, "outcome": "\([a-z-]*\)".*/\1/p')
  if [ -n "$done_before" ]; then # it was sent again long after, when its result was cleared away
    finish "$done_before"
  fi
  keep_room
  recover_first
  case $kind in
    recover) ;;
    stop | prune) take_backend "$backend" ;; # they do without, and make some
    *)
      take_backend "$backend"
      keep_room || refuse "$(no_room)"
      ;;
  esac
  case $kind in
    switch) switch_release ;;
    rollback) roll_back ;;
    stop) stop_app ;;
    prune) prune_all ;;
    sync) sync_files ;;
    debug) debug_release ;;
    recover) ;; # it was first
  esac
  end ok
}
