#!/bin/sh
# Exports the directory to a store of its own, below the runner's temporary directory.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

check_program
[ -n "$RP_DIRECTORY" ] || fail 2 "the input directory is missing"
work=$(mktemp -d "$RUNNER_TEMP/runpack.XXXXXX")
output work "$work"

set -- --json --no-push "--to=file:$work/store" "--run-id=$RP_RUN_ID"
for pair in "tenant=$RP_TENANT" "namespace=$RP_NAMESPACE" "scenario=$RP_SCENARIO" "spec=$RP_SPEC" "bundle=$RP_BUNDLE"; do
    [ -z "${pair#*=}" ] || set -- "$@" "--$pair"
done
while IFS= read -r label; do
    [ -z "$label" ] || set -- "$@" "--label=$label"
done <<LABELS
$RP_LABELS
LABELS

run "$work/export.json" export "$@" -- "$RP_DIRECTORY"
[ "$code" -eq 0 ] || fail "$code" "the pack was not made (exit code $code): see the log"
pack_id=$(member pack_id "$work/export.json")
[ -n "$pack_id" ] || fail 2 "the program told no pack id"
output pack-id "$pack_id"
