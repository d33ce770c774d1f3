#!/bin/sh
# The whole way of a release with no hardware: build, verify, deploy to a virtual Jetson, check, deploy a change, roll back.
#
#     sh docs/ci/run.sh [RESULTS]
#
# RESULTS (default: ci-results) gets what a CI server shows: verify.sarif and verify.xml (JUnit), and first.json, change.json
# and status.json: what was planned, sent and found in the end.
# JETSONX is the command (default: jetsonx), VM the machine's name (default: ci). A machine of that name that is there is
# used and left as it is; else one is made, and taken away at the end.
set -eu

jetsonx=${JETSONX:-jetsonx}
vm=${VM:-ci}
target=orin-nano@39.2
results=${1:-ci-results}
mkdir -p "$results"
results=$(cd "$results" && pwd)
work=$(mktemp -d)
made=

finish() {
    [ -z "$made" ] || $jetsonx vm remove "$vm"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() {
    printf '\n== %s\n' "$*"
}

# The release that runs, as `jetsonx status` has it.
running() {
    $jetsonx status "vm:$vm" --app vector-add --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["current"]["release"])'
}

step "build"
app=$work/vector-add
$jetsonx init "$app" --sample vector-add -t $target
# A virtual Jetson has no GPU. The sample then tests its CPU part; again and again, so that there is something to watch.
sed -i -e '/^\[deploy\]/,$d' -e 's/^entrypoint = .*/entrypoint = ["vector-add", "--self-test", "--every", "5"]/' \
    "$app/jetsonx.toml"
cat >>"$app/jetsonx.toml" <<'TOML'
[deploy]
gpu = "none"
health = { command = ["vector-add", "--self-test"], timeout_s = 120 }
TOML
$jetsonx build "$app"

step "verify"
$jetsonx verify "oci:$app/out/image" -t $target --format sarif --output "$results/verify.sarif"
$jetsonx verify "oci:$app/out/image" -t $target --format junit --output "$results/verify.xml"

step "start a virtual Jetson"
if ! $jetsonx vm list | grep -q "^vm:$vm "; then
    $jetsonx vm create "$vm" -t $target --memory 1536
    made=yes
fi
$jetsonx vm start "$vm" --docker --timeout 900

step "deploy"
$jetsonx deploy "vm:$vm" -C "$app" --json >"$results/first.json"
first=$(running)

step "deploy a change: only what differs is sent"
sed -i 's/CPU reference: ok/CPU reference: fine/' "$app/vector_add.cu"
$jetsonx build "$app"
$jetsonx deploy "vm:$vm" -C "$app" --json >"$results/change.json"
second=$(running)
[ "$first" != "$second" ]
$jetsonx logs "vm:$vm" --app vector-add | grep "CPU reference: fine"

step "roll back"
$jetsonx rollback "vm:$vm" --app vector-add
[ "$(running)" = "$first" ]
$jetsonx status "vm:$vm" --app vector-add --json >"$results/status.json"
$jetsonx history "vm:$vm" --app vector-add
$jetsonx stop "vm:$vm" --app vector-add

step "all went well; results: $results"
