#!/bin/sh
# nvcc for the target: right host compiler, right device architectures, reproducible output.
# The real one is called by its name in libexec/, because nvcc finds its profile and programs beside the name it is
# called by.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"

# Say that an architecture was replaced, unless it is one of the target's own.
note_arch() {
  for sm in $JX_SMS; do
    case $1 in *compute_"$sm",*) return ;; esac
  done
  jx_note "nvcc $1 replaced by $JX_GENCODE"
}

arch='' compile='' single='' output='' threads=$JETSONX_NVCC_THREADS
for word; do
  case $word in
    -arch | -arch=* | --gpu-architecture* | -gencode* | --generate-code* | -code | -code=* | --gpu-code*) arch=given ;;
    -c | --compile | -dc | --device-c | -dw | --device-w) compile=yes ;;
    -ptx | --ptx | -cubin | --cubin) single=yes ;;
    -o | -o?* | --output-file*) output=yes ;;
    -t | -t?* | --threads*) threads= ;; # the project has its own idea
  esac
done

n=$#
drop=
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  n=$((n - 1))
  if [ -n "$drop" ]; then
    drop=
    continue
  fi
  case $word in
    -ccbin | --compiler-bindir) drop=yes; continue ;;
    -ccbin=* | --compiler-bindir=*) continue ;;
    -arch=native | --gpu-architecture=native)
      arch=
      jx_note "nvcc $word replaced by $JX_GENCODE"
      continue
      ;;
    -arch | --gpu-architecture | -gencode | --generate-code | -code | --gpu-code)
      if [ "$JETSONX_OVERRIDE_ARCH" = 1 ] || [ "$1" = native ]; then
        arch=
        note_arch "$word $1"
        drop=yes
        continue
      fi
      ;;
    -arch=* | --gpu-architecture=* | -gencode=* | --generate-code=* | -code=* | --gpu-code=*)
      if [ "$JETSONX_OVERRIDE_ARCH" = 1 ]; then
        arch=
        note_arch "$word"
        continue
      fi
      ;;
  esac
  set -- "$@" "$word"
done

if [ -z "$arch" ]; then
  # Without any architecture nvcc would build for its oldest one, which no Jetson of this release has.
  if [ -n "$single" ]; then
    set -- "-arch=sm_$JX_FIRST_SM" "$@"
  else
    # shellcheck disable=SC2086 # words, by design
    set -- $JX_GENCODE "$@"
  fi
fi
# Architectures of one file side by side, where there are more cores than files. The output is the same bytes.
[ -z "$threads" ] || set -- "--threads=$threads" "$@"
# Temporary files beside the object: their names end up in it, and the default ones hold the process number.
[ -z "$compile$output" ] || [ -z "$compile" ] || [ -z "$output" ] || set -- -objtemp "$@"
exec "$JX_TOOLKIT/libexec/nvcc" -ccbin "$JX_HOST_CXX" "$@"
