#!/bin/sh
# Pushes the exported pack to the store.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

check_program
flag push "$RP_PUSH" || exit 0
find_store
find_pack
set -- --json
[ -z "$address" ] || set -- "$@" "--to=$address"
run "$RP_WORK/push.json" push "$@" -- "$pack"
[ "$code" -eq 0 ] || fail "$code" "the pack was not pushed (exit code $code): see the log"
uri=$(member pack "$RP_WORK/push.json")
output storage-uri "${uri:-$address}"
