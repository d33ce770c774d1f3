#!/bin/sh
# Read by `sh` of a device: says what it is and has, a line each, and changes nothing. As one function, so that no program
# that it starts can read the rest of it from standard input. JETSONX_ROOT, set on the device: where the files that name
# module and release lie, for tests.
room() { # $1: a directory that need not be there, or not be seen by this user; the file system of the nearest that is
  place=$1
  case $place in /*) ;; *) return ;; esac
  while [ -n "$place" ] && ! limited df -Pk -- "$place" >/dev/null 2>&1; do place=${place%/*}; done
  limited df -Pk -- "${place:-/}" 2>/dev/null | awk 'NR == 2 { print $(NF - 2) }'
}
tell_docker() { # "$@": the words that start docker
  answer=$(limited "$@" info --format '{{json .}}' 2>/dev/null | head -c 65536)
  case $answer in *'"ServerVersion":"'[!\"]*) ;; *) return 1 ;; esac
  say docker_info "$answer"
  say docker_api "$(limited "$@" version --format '{{.Server.APIVersion}}' 2>/dev/null)"
  say docker_free_kib "$(room "$(printf %s "$answer" | sed -n 's/.*"DockerRootDir":"\([^"]*\)".*/\1/p')")"
  say containerd_free_kib "$(room /var/lib/containerd)"
}
tell_engine() {
  endpoint=${DOCKER_HOST:-$(limited docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null)}
  say docker_endpoint "$endpoint"
  case $endpoint in unix://*) say docker_socket "$(ls -ld -- "${endpoint#unix://}" 2>/dev/null)" ;; esac
  if tell_docker docker; then
    say docker_by user
    return
  fi
  say docker_trouble "$(limited docker version --format '{{.Server.Version}}' 2>&1 | tail -n 3)"
  if [ "$sudo" = yes ] && tell_docker sudo -n docker; then say docker_by sudo; fi
}
tell() {
  base=${JETSONX_ROOT:-}
  say machine "$(uname -m)"
  say kernel "$(uname -r)"
  say binfmt "$(ls /proc/sys/fs/binfmt_misc 2>/dev/null)"
  say host "$(uname -n)"
  say system "$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$base/etc/os-release" 2>/dev/null)"
  say clock_s "$(date +%s)"
  say model "$(tr -d '\0' 2>/dev/null <"$base/proc/device-tree/model")"
  say compatible "$(tr '\0' ' ' 2>/dev/null <"$base/proc/device-tree/compatible")"
  say release "$(head -n 1 "$base/etc/nv_tegra_release" 2>/dev/null)"
  say virtual "$(head -n 1 "$base/etc/jetsonx-vm" 2>/dev/null)"
  # shellcheck disable=SC2016 # dpkg-query's own fields
  say packages "$(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}|' nvidia-l4t-core nvidia-jetpack \
    'cuda-compat-*' nvidia-container-toolkit 2>/dev/null)"
  say cuda_json "$(head -c 8192 "$base/usr/local/cuda/version.json" 2>/dev/null)"
  say cuda_text "$(head -n 1 "$base/usr/local/cuda/version.txt" 2>/dev/null)"
  say cores "$(getconf _NPROCESSORS_ONLN)"
  say page_bytes "$(getconf PAGESIZE)"
  say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
  say cpu_flags "$(sed -n -e 's/^Features[[:space:]]*: //p' -e 's/^flags[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
  say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
  say memory_free_kib "$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)"
  say user "$(id -un)"
  say uid "$(id -u)"
  say groups "$(id -nG)"
  say group_ids "$(getent group docker video render 2>/dev/null | cut -d : -f 1,3)"
  say home "$HOME"
  say home_free_kib "$(room "$HOME")"
  # json: python3-minimal of Debian and Ubuntu has not what our programs import.
  say python "$(limited python3 -c 'import json, sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
  sudo=no
  if [ "$(id -u)" != 0 ] && limited sudo -n true 2>/dev/null; then sudo=yes; fi
  say sudo "$sudo"
  say cdi "$(ls /etc/cdi /var/run/cdi 2>/dev/null)"
  say docker_free_kib "$(room /var/lib/docker)"
  say docker "$(command -v docker)"
  if command -v docker >/dev/null; then tell_engine; fi
  say end whole
}
tell </dev/null
