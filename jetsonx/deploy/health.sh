# The health gate: whether the release $new works, as its `health` says. What is not so is put into `why`.
# Times are counted in what /proc/uptime says, which no clock changes.
probe_http() {
  if has curl; then
    [ "$(limit=5 && curl -sS -o /dev/null -m 5 -w '%{http_code}' -- "$health_url" 2>/dev/null)" = 200 ]
  elif has wget; then
    wget -q -T 5 -O /dev/null "$health_url" >/dev/null 2>&1
  elif has python3; then
    printf '%s' "$health_url" | python3 -c 'import sys, urllib.request as u
sys.exit(u.urlopen(sys.stdin.read(), timeout=5).status != 200)' >/dev/null 2>&1
  elif has bash; then
    case $health_url in http://*) ;; *) return 1 ;; esac
    # shellcheck disable=SC2016 # for bash to read
    printf '%s' "$health_url" | limited bash -c 'IFS= read -r url; rest=${url#http://}; place=${rest%%/*}; port=${place##*:}
[ "$port" != "$place" ] || port=80
exec 3<>"/dev/tcp/${place%%:*}/$port" || exit 1
printf "GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n" "$(case $rest in */*) printf %s "${rest#*/}" ;; esac)" "$place" >&3
read -r _ status _ <&3; [ "$status" = 200 ]' >/dev/null 2>&1
  else
    why='no curl, wget, python3 or bash on the device to ask with'
    return 1
  fi
}
is_well() {
  case $health in
    image)
      case $4 in
        healthy) return 0 ;;
        -) health=stays ;; # the image says nothing of its health
      esac
      return 1
      ;;
    command) (limit=$health_timeout && with_health run_inside) >/dev/null 2>&1 ;;
    http) probe_http ;;
    stays)
      if [ "$5" != "$since" ]; then # started anew by an engine that was restarted
        since=$5
        up_from=$(now)
      fi
      [ $(($(now) - up_from)) -ge $((health_stays * 100)) ]
      ;;
  esac
}
is_done() { # $1: state, $2: exit status; nobody asked for it to run on, and it ended well
  case $restart in no | on-failure*) [ "$1" = exited ] && [ "$2" = 0 ] ;; *) return 1 ;; esac
}
pass_gate() {
  since='' absent_from='' revived='' up_from=$(now) gate_from=$up_from
  while :; do
    if ! look; then
      attempt look || { why='it is gone' && return 1; }
      if ! attempt start_new; then return 1; fi # the engine was away and took it along
      gate_from=$(now) since=''
      continue
    fi
    # shellcheck disable=SC2086 # five words
    set -- $seen
    ended=''
    if [ "$3" != 0 ]; then ended=" with status $3"; fi
    if [ "$1" = running ] && [ "$4" = unhealthy ] && [ "$health" = image ]; then why='its health check says unhealthy' && return 1; fi
    if [ "$2" != 0 ]; then why="it ended$ended and was started again" && return 1; fi
    case $1 in
      running)
        absent_from=''
        if is_well "$@"; then return 0; fi
        ;;
      exited | dead)
        if is_done "$1" "$3"; then return 0; fi
        # An engine that was restarted takes a moment to start again what its policy says; one that was killed stops what
        # runs when it is back, and takes that for the user's own wish (moby, daemon/kill.go: HasBeenManuallyStopped).
        absent_from=${absent_from:-$(now)}
        if [ "$restart" = no ]; then why="it ended with status $3" && return 1; fi
        if [ $(($(now) - absent_from)) -ge 200 ]; then
          if [ -n "$revived" ] || ! attempt start_new; then why="it ended with status $3" && return 1; fi
          revived=1 since='' absent_from=''
        fi
        ;;
    esac
    if [ $(($(now) - gate_from)) -ge $((health_timeout * 100)) ]; then
      why="${why:-not healthy within $health_timeout s ($health)}"
      return 1
    fi
    nap
  done
}
