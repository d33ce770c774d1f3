#!/bin/sh
# Read by `sh` of a machine that is to build: says what it is and has, a line each. As one function, so that no program
# that it starts can read the rest of it from standard input.
tell() {
  say machine "$(uname -m)"
  say cores "$(getconf _NPROCESSORS_ONLN)"
  say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
  say user "$(id -un)"
  say groups "$(id -nG)"
  say l4t "$(head -n 1 /etc/nv_tegra_release 2>/dev/null)"
  say docker "$(command -v docker)"
  command -v docker >/dev/null || return 0
  endpoint=${DOCKER_HOST:-$(limited docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null)}
  say endpoint "$endpoint"
  case $endpoint in unix://*) say socket "$(ls -ld "${endpoint#unix://}" 2>/dev/null)" ;; esac
  if answer=$(limited docker version --format '{{.Server.Version}}' 2>&1); then
    say server "$answer"
  else
    say trouble "$answer"
  fi
  root=$(limited docker info --format '{{.DockerRootDir}}' 2>/dev/null)
  say root "$root"
  say free_kib "$(df -Pk -- "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"
}
tell </dev/null
