# Files that were built anew, put into the app's container until the next deployment. The container is stopped meanwhile, so
# that nothing ever runs with some of them only; what was interrupted is done again from the beginning. Beside the journal
# there is a file for each container that was so treated, by its ID: `modified=` says when and by whom, `folder=` where,
# and `file=` what that holds since; it is left out while it is not certain.
is_modified() { [ -n "$1" ] && grep -q '^modified=' "$home/contents/$1" 2>/dev/null; }
begin_with_current() { # of what works on the container that is there
  find_id "$app"
  old=$id
  if [ -z "$old" ] || [ "$owner" != "$app" ]; then refuse "no release of it is there"; fi
  if [ "$old" != "$expected" ]; then refuse "another release became the current one meanwhile"; fi
  boot=$(boot_id)
  if is_running "$old"; then old_running=1; fi
  dir=$(field "$old" '{{index .Config.Labels "dev.jetsonx.directory"}}')
}
sync_files() {
  begin_with_current
  # shellcheck disable=SC2154 # of the request
  mv -f "$state/staging/$archive" "$run/archive" || refuse "what was sent is not there any more"
  # shellcheck disable=SC2154
  mkdir -p "$home/contents"
  if ! printf '%s' "$contents" | put "$run/contents" ||
    ! printf 'modified=%s by %s\nfolder=%s\n' "$stamp" "$who" "$folder" | put "$run/modified"; then
    refuse "$(no_room)"
  fi
  put_files
}
put_files() {
  if ! mark sync || ! insist put_note; then
    if [ "$nested" = 1 ]; then stall; fi # it may be stopped
    refuse "$(no_room)"
  fi
  attempt stop_for_files
  if attempt copy_files; then cat "$run/modified" "$run/contents" | put "$home/contents/$old"; else why=$(last_words); fi
  attempt start_with_files || why=${why:-$(last_words)}
  if [ -z "$why" ]; then watch_files; fi
  rm -f "$run/archive"
  if [ -z "$why" ]; then end ok; fi
  failed_at=$step
  end failed
}
put_note() { put "$home/contents/$old" <"$run/modified"; } # that of what it holds nothing is certain
stop_for_files() {
  if [ -z "$stopped" ]; then stopped=$(now); fi
  old_stop=$(field "$old" '{{if .Config.StopTimeout}}{{.Config.StopTimeout}}{{end}}')
  (limit=$((${old_stop:-10} + 30)) && dk stop "$old") >/dev/null 2>>"$said"
}
copy_files() { (limit=900 && dk cp - "$old:/" <"$run/archive") >/dev/null 2>>"$said"; }
start_with_files() {
  # The engine notes when a container started after it did, so its first lines would be lost: the device's own clock is
  # asked before. Both are the same clock, however wrong it is.
  from=$(date +%s.%N)
  case $from in '' | *[!0-9.]*) from=$(date +%s) ;; esac
  dk start "$old" >/dev/null 2>>"$said" && started=$(now)
}
watch_files() { # a look at how it does, not the whole of its health check's time
  mark gate
  new=$old
  if load_release "$dir"; then
    if [ "$health_timeout" -gt 10 ]; then health_timeout=10; fi
    if [ "$health_stays" -gt 2 ]; then health_stays=2; fi
    pass_gate || why=${why:-it is not well}
  fi
  dk logs --since "$from" "$old" 2>&1 | head -n 20 | head -c 8192 >"$run/log"
  # shellcheck disable=SC2046 # three words
  set -- $(field "$old" '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}')
  if [ "$2" != 0 ] || { [ "$1" != running ] && ! is_done "$1" "$3"; }; then why=${why:-it ended with status $3}; fi
}
