# Read by every shim; POSIX sh, because it runs once per compiler call.
# share/config.sh, written beside this file, says which programs and directories this SDK uses.
. "$JX_SDK/share/config.sh"

# Where the workstation keeps the target's /usr and /lib: sets $mapped to the sysroot's place of an absolute path.
# Build files name /usr/local/cuda, /usr/include/opencv4 or /usr/lib/x86_64-linux-gnu; on this workstation those are
# missing or, worse, hold x86-64 files. Outside CUDA the place is in the store's own tree, not in the SDK's view of it:
# linkers take the absolute paths inside libc.so as the sysroot's only for a file that lies below --sysroot.
jx_map_path() {
  mapped=$1
  case $1 in
    "$JX_SYSROOT"/usr/local/*) return ;;
    "$JX_SYSROOT"/*) mapped=$JX_TREE${1#"$JX_SYSROOT"} ;;
    /usr/local/cuda-*) rest=${1#/usr/local/cuda-}; case $rest in */*) rest=/${rest#*/} ;; *) rest= ;; esac
      mapped=$JX_SYSROOT/usr/local/cuda$rest ;;
    /usr/local/cuda|/usr/local/cuda/*) mapped=$JX_SYSROOT$1 ;;
    /usr/lib/x86_64-linux-gnu*) mapped=$JX_TREE/usr/lib/aarch64-linux-gnu${1#/usr/lib/x86_64-linux-gnu} ;;
    /usr/include|/usr/include/*|/usr/lib|/usr/lib/*|/lib|/lib/*) mapped=$JX_TREE$1 ;;
  esac
}

# Sets $mapped to a run path as it reads on the device: the sysroot's /usr/local/cuda/lib64 is /usr/local/cuda/lib64.
jx_map_rpath() {
  mapped=
  rest=$1
  while :; do
    case $rest in
      *"$JX_SYSROOT"*) mapped=$mapped${rest%%"$JX_SYSROOT"*}; rest=${rest#*"$JX_SYSROOT"} ;;
      *) mapped=$mapped$rest; return ;;
    esac
  done
}

# Tell `jetsonx build` what was changed on the way; it prints each line once.
jx_note() {
  [ -z "$JETSONX_NOTES" ] || printf '%s\n' "$1" >>"$JETSONX_NOTES"
}
