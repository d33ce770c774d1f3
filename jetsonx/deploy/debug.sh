# A container like the app's, whose program gdbserver starts, in place of it for as long as somebody's heart beats: one GPU
# and one camera are not for two. gdbserver speaks on its standard input and output, so that no port is opened here, and
# lies in a directory of ours that is mounted. Whatever becomes of the link, the app runs again half a minute later.
debug_release() {
  begin_with_current
  load_release "$dir" || refuse "what the release is made of is not known any more: $home/releases/$dir"
  mark create || refuse "$(no_room)"
  attempt create_debug || end_debug
  mark stop
  attempt stop_for_files
  mark ready
  hold
  end_debug
}
create_debug() {
  remove_debug
  # shellcheck disable=SC2154 # of the request and the release
  with_secrets with_words with_gdbserver dk create --name "$app.debug" --interactive --restart no --no-healthcheck \
    --stop-timeout 1 --cap-add SYS_PTRACE --label "dev.jetsonx.app=$app" --label "dev.jetsonx.release=$release" \
    --label "dev.jetsonx.op=$op" --mount "type=bind,\"source=$state/debug/$tools\",target=/jetsonx-debug,readonly" \
    >/dev/null 2>>"$said" && copy_synced
}
copy_synced() { # what was put into the app's container since it was deployed
  folder=$(sed -n 's/^folder=//p' "$home/contents/$old" 2>/dev/null)
  if [ -z "$folder" ]; then return 0; fi
  dk cp "$old:$folder" - 2>>"$said" | dk cp - "$app.debug:${folder%/*}" >/dev/null 2>>"$said"
}
with_gdbserver() { # "$@": docker create, its options, the image; what follows that is part of the program's words
  count=$#
  for word; do
    case $word in sha256:*) break ;; esac
    set -- "$@" "$word"
  done
  shift "$count"
  # shellcheck disable=SC2154 # of the request
  with_program "$@" --entrypoint "$loader" "$word"
}
hold() {
  beat='' heard=$(now)
  until [ -e "$run/end" ] || [ $(($(now) - heard)) -gt 3000 ]; do
    last=$(cat "$run/beat" 2>/dev/null)
    if [ "$last" != "$beat" ]; then beat=$last heard=$(now); fi
    nap
  done
}
end_debug() {
  if [ "$step" = create ]; then why=$(last_words) failed_at=create; fi
  attempt remove_debug || leave
  if [ "$old_running" = 1 ] && ! is_running "$old"; then
    attempt start_with_files || why=$(last_words)
  fi
  if [ -n "$why" ]; then end failed; fi
  end ok
}
remove_debug() {
  find_id "$app.debug"
  if [ "$owner" = "$app" ]; then dk rm --force --volumes "$id" >/dev/null 2>>"$said"; fi
}
