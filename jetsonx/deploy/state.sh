#!/bin/sh
# Read by `sh` of a device: what there is of images, containers and apps, a line each, in one round trip. It changes nothing.
state=$HOME/.local/state/jetsonx
tell_lines() { sed "s/^/$1=/" 2>/dev/null <"$2"; } # $1: name; $2: file
birth() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
tell_holder() { # $1: the file of whoever holds the lock; one that does not live any more holds none
  pid=$(sed -n 's/^pid=//p' "$1" 2>/dev/null)
  case $pid in '' | *[!0-9]*) return ;; esac
  [ "$(sed -n 's/^boot=//p' "$1")" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return
  [ "$(sed -n 's/^birth=//p' "$1")" = "$(birth "$pid")" ] || return
  tell_lines holder "$1"
}
tell_app() { # $1: its directory
  say app "${1##*/}"
  tell_lines journal "$1/journal"
  tell_holder "$1/holder"
  tail -n 50 "$1/history.jsonl" 2>/dev/null | head -c 65536 | sed 's/^/history=/'
  for file in "$1/contents"/*; do
    if [ -f "$file" ]; then say modified "${file##*/} $(sed -n 's/^modified=//p' "$file")"; fi
  done
  if [ -e "$1/failed" ]; then say failed "$(sed -n 1p "$1/failed")"; fi
  if [ -e "$1/files" ]; then tell_files "$1" "$HOME/.local/share/jetsonx/apps/${1##*/}"; fi
}
units() { # the user's own systemd
  XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
  export XDG_RUNTIME_DIR
  limited systemctl --user "$@" 2>/dev/null
}
tell_files() { # $1: an app's state; $2: where its releases lie: a line for each, the words of what has no blanks
  say form files
  current=$(readlink "$2/current" 2>/dev/null)
  previous=$(readlink "$2/previous" 2>/dev/null)
  unit=jetsonx-${1##*/}.service
  in_unit=$(sed -n '1s/^# release //p' "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/$unit" 2>/dev/null)
  for place in "$2/releases"/*; do
    name=${place##*/}
    release=$1/releases/$name/release
    if [ ! -d "$place" ] || [ ! -e "$release" ]; then continue; fi
    case releases/$name in "$current") slot=current ;; "$previous") slot=previous ;; *) slot=older ;; esac
    condition='rests 0 0'
    if [ "$name" = "$in_unit" ]; then
      condition=$(units show -p ActiveState -p NRestarts -p ExecMainStatus "$unit" |
        awk -F = '{ said[$1] = $2 } END { print said["ActiveState"] ? said["ActiveState"] : "unknown", said["NRestarts"] + 0, said["ExecMainStatus"] + 0 }')
    elif [ "$slot" = current ] && grep -qx unit=0 "$release"; then condition='placed 0 0'; fi
    say files "$slot $name $(sed -n 's/^payload=//p' "$release") $(sed -n 's/^reference=//p' "$release") $condition"
  done
}
tell_engine() { # "$@": the words that start docker
  image='{"id":{{json .Id}},"layers":{{json .RootFS.Layers}},"tags":{{json .RepoTags}},"digests":{{json .RepoDigests}},"labels":{{if .Config}}{{json .Config.Labels}}{{else}}null{{end}}}'
  container='{"id":{{json .ID}},"name":{{json .Name}},"image":{{json .Image}},"state":{{json .State.Status}},"labels":{{json .Config.Labels}},"bound":{{json .HostConfig.PortBindings}},"ports":{{json .NetworkSettings.Ports}},"restarts":{{json .RestartCount}},"status":{{json .State.ExitCode}},"health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}""{{end}}}'
  limited "$@" image ls --quiet --no-trunc | sort -u | limited xargs -r "$@" image inspect --format "$image" 2>/dev/null | sed 's/^/image=/'
  limited "$@" ps --all --quiet --no-trunc | limited xargs -r "$@" inspect --type container --format "$container" 2>/dev/null |
    sed 's/^/container=/'
}
tell() {
  for directory in "$state/apps"/*/; do
    if [ -d "$directory" ]; then tell_app "${directory%/}"; fi
  done
  for file in "$state/staging"/*; do
    if [ -f "$file" ]; then say staged "$(wc -c <"$file") ${file##*/}"; fi
  done
  place=$state
  while [ ! -d "$place" ]; do place=${place%/*}; done
  if units show-environment >/dev/null; then say units yes; else say units no; fi
  say linger "$(limited loginctl show-user "$(id -un)" -p Linger 2>/dev/null)"
  # shellcheck disable=SC2016 # awk's own fields
  say home_mount "$(df -P -- "$HOME" 2>/dev/null | awk 'NR == 2 { print $NF }' |
    while IFS= read -r point; do awk -v point="$point" '$2 == point { print $4 }' /proc/mounts | tail -n 1; done)"
  say free_kib "$(df -Pk -- "${place:-/}" 2>/dev/null | awk 'NR == 2 { print $(NF - 2) }')"
  if limited docker version >/dev/null 2>&1; then
    by=user
    tell_engine docker
  elif limited sudo -n docker version >/dev/null 2>&1; then
    by=sudo
    tell_engine sudo -n docker
  fi
  say docker "${by:-}"
  say end whole
}
tell </dev/null
