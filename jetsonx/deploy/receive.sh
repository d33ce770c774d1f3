#!/bin/sh
# Receives a file on a device without python3: receive.sh SHA256 SIZE TOKEN CHUNK. The bytes come bare on standard
# input from where it says `have N`, then after each CHUNK of them it says what the receiver in Python
# says: busy, have, ack, done, wrong, full, failed.
# Needs coreutils. head reads exactly as many bytes from a pipe as it is told.
sha=$1 size=$2 token=$3 chunk=$4 pid=
umask 077
dir="$HOME/.local/state/jetsonx/staging"
whole="$dir/$sha" part="$dir/$sha.part" by="$dir/$sha.part.by"
kept=3

# Give up the turn if we have it, and go.
leave() {
  read -r pid _ 2>/dev/null <"$by"
  [ "$pid" != $$ ] || rm -f "$by"
  [ -z "$2" ] || echo "$2"
  exit "$1"
}

# The last words.
end() { leave "$2" "$1"; }

length() { stat -c %s "$part" 2>/dev/null || echo 0; }

free() {
  near=$dir
  while [ ! -d "$near" ]; do near=$(dirname "$near"); done
  df -Pk "$near" | {
    read -r _
    read -r _ _ _ kib _
    echo $((kib * 1024))
  }
}

has_room() { [ "$(free)" -ge $((size - $1)) ]; }

full() { end "full $(free) $((size - $1))" 1; }

# Whether process $1 is alive and a receiver of $2: its number may be another's by now.
is_alive() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q "$2"; }

# Only one at a time; a receiver of the same upload, whose link broke, and one that gets nothing any more, make way.
take_turn() {
  waited=0 before=$(length)
  until ln "$by.$$" "$by" 2>/dev/null; do
    pid='' other=''
    read -r pid other 2>/dev/null <"$by" || [ -e "$by" ] || continue
    [ "$waited" -lt 60 ] || [ "$(length)" != "$before" ] || other=$token
    if [ "$other" = "$token" ] || ! is_alive "$pid" "$sha"; then
      ! is_alive "$pid" "$sha" || kill -9 -- "-$pid" 2>/dev/null || kill -9 "$pid"
      rm -f "$by"
      sleep 1 # what it started may still write what it had read
      continue
    fi
    [ $((waited % 10)) != 0 ] || echo busy || exit 1
    [ "$waited" -lt 60 ] || waited=0 before=$(length)
    waited=$((waited + 1))
    sleep 0.5
  done
}

# Old uploads but for the last few, and never one that is running.
prune() {
  # shellcheck disable=SC2012 # the names are ours: hexadecimal digits
  (cd "$dir" && ls -t -- *.part) | grep -v "^$sha" | tail -n "+$((kept + 1))" | while read -r old; do
    { read -r pid _ <"$dir/$old.by" && is_alive "$pid" "${old%.part}"; } 2>/dev/null || rm -f "$dir/$old" "$dir/$old.by"
  done
}

mkdir -p "$dir" 2>/dev/null || { has_room 0 && end "failed $dir cannot be made" 1; full 0; }
[ ! -f "$whole" ] || end 'done' 0
echo "$$ $token" 2>/dev/null >"$by.$$" || full 0
trap 'rm -f "$by.$$"' EXIT
take_turn
rm -f "$by.$$"
[ ! -f "$whole" ] || end 'done' 0
prune 2>/dev/null
have=$(length)
[ "$have" -le "$size" ] || { rm -f "$part"; have=0; }
has_room "$have" || full "$have"
true >>"$part" || end "failed $part cannot be written" 1
echo "have $have"
while [ "$have" -lt "$size" ]; do
  wanted=$((size - have))
  [ "$wanted" -lt "$chunk" ] || wanted=$chunk
  head -c "$wanted" >>"$part" 2>/dev/null || full "$have"
  sync "$part" 2>/dev/null || sync
  now=$(length)
  [ "$now" != "$have" ] || leave 1 '' # the other end is gone
  have=$now
  echo "ack $have" || leave 1 ''
done
case $(sha256sum <"$part") in
  "$sha"*) mv "$part" "$whole" && sync && end 'done' 0 ;;
esac
rm -f "$part"
end wrong 1
