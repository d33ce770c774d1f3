#!/bin/sh
# Build files ask nvidia-smi which GPU to build for. The answer is the target's, not this workstation's.
JX_SDK=@SDK@
. "$JX_SDK/share/common.sh"
case "$*" in
  *compute_cap*)
    jx_note "nvidia-smi answered with the target's compute capability $JX_COMPUTE_CAPABILITIES"
    case "$*" in *noheader*) ;; *) echo compute_cap ;; esac
    for capability in $JX_COMPUTE_CAPABILITIES; do echo "$capability"; done
    ;;
  *)
    echo "NVIDIA-SMI: there is no GPU here; this is a cross build by jetsonx" >&2
    exit 9
    ;;
esac
