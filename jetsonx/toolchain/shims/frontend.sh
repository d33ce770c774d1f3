#!/bin/sh
# cudafe++ and cicc derive the names of a file's internal symbols from its absolute path. Give them the path inside the
# project instead, so that the same source gives the same bytes in every directory.
before=
n=$#
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  n=$((n - 1))
  if [ "$before" = --orig_src_path_name ]; then
    case $word in
      "${JETSONX_BUILD_DIR:-/dev/null}"/*) set -- "$@" "./build/${word#"$JETSONX_BUILD_DIR"/}" ;;
      "${JETSONX_SOURCE_DIR:-/dev/null}"/*) set -- "$@" "./${word#"$JETSONX_SOURCE_DIR"/}" ;;
      *) set -- "$@" "$word" ;;
    esac
  else
    set -- "$@" "$word"
  fi
  before=$word
done
case ${0##*/} in
  cicc) exec @NVCC_ROOT@/nvvm/bin/cicc "$@" ;;
  *) exec @NVCC_ROOT@/bin/cudafe++ "$@" ;;
esac
