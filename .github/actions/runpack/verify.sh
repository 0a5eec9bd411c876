#!/bin/sh
# Reads the exported pack back and proves it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

check_program
if ! flag verify "$RP_VERIFY"; then
    output verdict skipped
    exit 0
fi
find_pack
run "$RP_WORK/verify.json" verify --json "--expect-pack-id=$RP_PACK_ID" -- "$pack"
output verdict "$(member verdict "$RP_WORK/verify.json")"
[ "$code" -eq 0 ] || fail "$code" "the pack does not verify (exit code $code): see the log. Nothing was pushed"
