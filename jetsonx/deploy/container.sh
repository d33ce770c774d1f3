# Releases that are containers of Docker. The functions here have equals in files.sh; which of the two files holds is said
# by the request, and by the journal of what is recovered. A release is known by the ID of its container.
dk() { # docker, for at most $limit seconds
  # shellcheck disable=SC2086 # two words when it takes sudo
  if has timeout; then timeout -k 5 "${limit:-60}" $docker "$@"; else $docker "$@"; fi
}
engine_is_there() { (limit=10 && dk version --format '{{.Server.Version}}') >/dev/null 2>&1; }
find_engine() {
  docker=docker
  if engine_is_there; then return; fi
  has sudo || return 1
  docker='sudo -n docker'
  if engine_is_there; then return; fi
  docker=docker
  return 1
}
read_field() { # of the container $1, an ID or a name, what the format $2 says becomes `value`; false when there is none
  [ -n "$1" ] || return 1
  unanswered=0
  until value=$(dk inspect --type container --format "jetsonx:$2" "$1" 2>&1); do # no file: the disk may be full
    case $value in *[Nn]"o such "[CcOo]*) return 1 ;; esac
    ask_again
  done
  value=${value#*jetsonx:} # it may warn of something first
}
exists() { read_field "$1" x; }
field() { dk inspect --type container --format "$2" "$1" 2>/dev/null; }
find_id() { # $1: a container's whole name, as inspect takes the beginning of an ID too; its `id`, and whose it is, `owner`
  id='' owner=''
  read_field "$1" '{{.Name}} {{.ID}} {{index .Config.Labels "dev.jetsonx.app"}}' || return 0
  [ "${value%% *}" = "/$1" ] || return 0
  owner=${value#* * }
  id=${value#* } id=${id%% *}
}
is_running() { read_field "$1" '{{.State.Running}}' && [ "$value" = true ]; }
named() { # the container $1 is called $2
  dk rename "$1" "$2" 2>"$run/answer" || [ "$(field "$1" '{{.Name}}')" = "/$2" ] || { cat "$run/answer" >>"$said" && return 1; }
}
find_made() { # what this operation made, if anything
  unanswered=0
  until made=$(dk ps --all --quiet --no-trunc --filter "label=dev.jetsonx.op=$op" 2>>"$said"); do ask_again; done
}
create_new() {
  find_new && return
  new=$(create_container) && [ -n "$new" ]
}
create_container() { # of the release that was loaded; its ID
  # shellcheck disable=SC2154 # of the release
  with_secrets with_words dk create --name "$app.next" --restart "$restart" --stop-timeout "$stop_timeout" \
    --label "dev.jetsonx.app=$app" --label "dev.jetsonx.release=$release" --label "dev.jetsonx.reference=$reference" \
    --label "dev.jetsonx.op=$op" --label "dev.jetsonx.directory=$dir" 2>>"$said"
}
with_secrets() { # "$@": a command, which gets mounts of the release's secrets as further words
  for file in "$home/releases/$dir/secrets"/*; do
    if [ -e "$file" ]; then set -- "$@" --mount "type=bind,\"source=$file\",target=/run/secrets/${file##*/},readonly"; fi
  done
  "$@"
}
make_clean() { # files were put into the earlier release's container: what was deployed takes its place
  find_made
  if [ -z "$made" ]; then made=$(create_container) || return 1; fi
  if [ "$made" != "$new" ] && exists "$new"; then dk rm --force --volumes "$new" >/dev/null 2>>"$said" || return 1; fi
  new=$made
  named "$new" "$app.prev"
}
test_new() { :; } # a container is tried by being started
note_old() { # what is to be restored when it is gone back to
  policy='{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}'
  read_field "$old" "{{.State.Running}} $policy {{if .Config.StopTimeout}}{{.Config.StopTimeout}}{{end}}"
  if [ "${value%% *}" = true ]; then old_running=1; fi
  old_stop=${value##* }
  old_restart=${value#* } old_restart=${old_restart%% *}
  case $old_restart in on-failure:[1-9]*) ;; *) old_restart=${old_restart%%:*} ;; esac
}
directory_of() { field "$1" '{{index .Config.Labels "dev.jetsonx.directory"}}'; }
stop_old() {
  exists "$old" || return 0
  dk update --restart=no "$old" >/dev/null 2>>"$said"
  if [ -z "$stopped" ]; then stopped=$(now); fi
  (limit=$((${old_stop:-10} + 30)) && dk stop "$old") >/dev/null 2>>"$said"
}
start_it() { dk start "$1" >/dev/null 2>>"$said"; }
restore_policy() { dk update --restart="$restart" "$new" >/dev/null 2>>"$said"; }
move_tags() {
  repository=${reference%:*}
  if read_field "$old" '{{.Image}}'; then dk tag "$value" "$repository:previous" 2>>"$said" || return 1; fi
  read_field "$new" '{{.Image}}' && dk tag "$value" "$repository:current" 2>>"$said"
}
retire() { # the old release, if it is there, lies there for a rollback, and nothing starts it
  read_field "$old" '{{.HostConfig.RestartPolicy.Name}} {{.State.Running}}' || return 0
  if [ "${value% *}" != no ]; then dk update --restart=no "$old" >/dev/null 2>>"$said" || return 1; fi
  if [ "${value#* }" = true ]; then (limit=$((${old_stop:-10} + 30)) && dk stop "$old") >/dev/null 2>>"$said"; fi
}
rest_new() { dk update --restart=no "$new" >/dev/null 2>>"$said"; } # it stays for another rollback
take_new_away() {
  find_new || return 0
  dk logs --tail 50 "$new" 2>&1 | tail -c 16384 >"$run/log"
  keep_log
  if [ "$kind" = rollback ]; then
    (limit=60 && dk stop "$new") >/dev/null 2>>"$said"
    named "$new" "$app.next"
  else
    dk rm --force --volumes "$new" >/dev/null 2>>"$said"
  fi
}
restore_old() { dk update --restart="$old_restart" "$old" >/dev/null 2>>"$said" && named "$old" "$app"; }
look() { # what the engine says of it, in one call
  seen=$(field "$new" '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.State.StartedAt}}')
}
run_inside() { dk exec "$new" "$@"; }
labelled() { dk ps --all --no-trunc --filter "label=dev.jetsonx.app=$app" --format "$1"; }
superfluous() { # $1: how many earlier releases are kept, that before the current one first, then the newest
  labelled '{{.ID}} {{.Names}} {{.Label "dev.jetsonx.directory"}}' | while read -r id name directory; do
    case $name in
      "$app") ;;
      "$app.prev") echo "999999999999 $id" ;;
      "$app".*) echo "$(number_of "$directory") $id" ;;
    esac
  done | sort -rn | awk -v left="$1" 'left > 0 { left--; next } { print $2 }'
}
remove_it() { # and the name of its image, unless another release of the app has it
  reference_there=$(field "$1" '{{index .Config.Labels "dev.jetsonx.reference"}}')
  dk rm --force --volumes "$1" >/dev/null 2>>"$said" || return 1
  drop_reference "$reference_there"
}
drop_reference() {
  [ -n "$1" ] || return 0
  in_use=$(labelled '{{.Label "dev.jetsonx.reference"}}') || return 0
  if printf '%s\n' "$in_use" | grep -qxF -- "$1"; then return 0; fi
  dk image rm "$1" >/dev/null 2>&1 || true
}
directories() { labelled '{{.Label "dev.jetsonx.directory"}}'; } # those that are in use
title_of() { printf 'container %s' "$(field "$1" '{{.Name}}' | cut -c 2-)"; }
temporary() { dk ps --all --quiet --no-trunc --filter label=dev.jetsonx.tmp=1; }
remove_temporary() { dk rm --force --volumes "$1" >/dev/null 2>>"$said"; }
stop_it() { dk stop "$old" >/dev/null 2>>"$said"; }
