#!/bin/sh
# Pulls the baseline from the store, verifying it, and compares the exported pack with it.
#
# Two runs are never one and the same pack: their ids and times differ. What is compared is what they hold.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

check_program
if flag fail-on-diff "$RP_FAIL_ON_DIFF"; then fails=true; else fails=false; fi
[ -n "$RP_BASELINE" ] || exit 0
find_store
find_pack
baseline=$RP_WORK/baseline

set -- --json
[ -z "$address" ] || set -- "$@" "--from=$address"
case $RP_BASELINE in
    sha256:*) set -- "$@" -- "$RP_BASELINE" "$baseline" ;;
    *)
        for pair in "tenant=$RP_TENANT" "namespace=$RP_NAMESPACE" "scenario=$RP_SCENARIO"; do
            [ -z "${pair#*=}" ] || set -- "$@" "--$pair"
        done
        set -- "$@" "--run-id=$RP_BASELINE" -- "$baseline"
        ;;
esac
run "$RP_WORK/pull.json" pull "$@"
# 3: every byte holds, and nothing vouches for it, as for a run's pack that this machine has no receipt of.
case $code in
    0 | 3) output baseline-verdict "$(member verdict "$RP_WORK/pull.json")" ;;
    1) fail 1 "the baseline does not verify: see the log" ;;
    *) fail "$code" "the baseline was not pulled (exit code $code): see the log" ;;
esac

run "$RP_WORK/diff.txt" diff -- "$baseline" "$pack"
[ "$code" -le 1 ] || fail "$code" "the packs could not be compared (exit code $code): see the log"
run "$RP_WORK/diff.json" diff --json -- "$baseline" "$pack"
[ "$code" -le 1 ] || fail "$code" "the packs could not be compared (exit code $code): see the log"
for list in added removed changed; do
    if ! grep -q "\"$list\":\[\]" "$RP_WORK/diff.json"; then
        output diff different
        "$fails" || exit 0
        fail 1 "the artifacts differ from those of the baseline: see the log"
    fi
done
output diff same
