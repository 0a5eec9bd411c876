#!/bin/sh
# What the steps share. Sourced by them; works in any POSIX shell.
#
# Invariants: what is printed by the program cannot be taken for a command to the runner; exit codes of the
# program become those of the step; 2 is what goes wrong before it is reached.
#
# shellcheck disable=SC2034 # some of what is set here is for the script that sources this

set -eu
export LC_ALL=C

# fail CODE MESSAGE: ends the step. The message is a text of these scripts, never one from outside.
fail() {
    printf '::error title=Runpack::%s\n' "$2"
    exit "$1"
}

# flag NAME VALUE: succeeds for true; what is neither true nor false ends the step.
flag() {
    case $2 in
        true) return 0 ;;
        false) return 1 ;;
        *) fail 2 "the input $1 is neither true nor false" ;;
    esac
}

# output NAME VALUE: as one line, whatever it is: a second line would be another output.
output() {
    printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n\r' '  ')" >>"$GITHUB_OUTPUT"
}

# run OUT ARGUMENTS...: runs the program; what it writes to standard output goes to the file OUT and to the log.
# Its exit code is left in `code`.
run() {
    out=$1
    shift
    code=0
    # Until the token comes, the runner takes no line for a command (GitHub, "Stopping and starting workflow
    # commands"): file names are shown by errors, and they are not ours.
    token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    printf '::stop-commands::%s\n' "$token"
    { "$RP_PROGRAM" ${RP_CONFIG:+"--config=$RP_CONFIG"} "$@" >"$out"; } 2>&1 || code=$?
    cat "$out"
    printf '\n::%s::\n' "$token"
}

# member NAME FILE: the value of a text in a line of JSON, if it is one without escapes. Within a text of JSON quotes
# are escaped, so nothing there looks like a member.
member() {
    grep -o "\"$1\":\"[^\"\\\\]*\"" "$2" | head -n 1 | sed -e "s/^\"$1\":\"//" -e 's/"$//'
}

# check_program: whether there is one.
check_program() {
    command -v "${RP_PROGRAM:?}" >/dev/null 2>&1 ||
        fail 2 "the program is not there: install it first, as Docs/operations/github-action.md says, or name it as the input runpack"
}

# find_pack: leaves the directory of the exported pack in `pack`. The work directory holds exactly one.
find_pack() {
    for manifest in "$RP_WORK"/store/tenant/*/namespace/*/scenario/*/run/*/*/manifest.json; do
        pack=${manifest%/manifest.json}
    done
    [ -f "$pack/manifest.json" ] || fail 2 "there is no exported pack"
}

# find_store: leaves the address of the store in `address`, nothing where the configuration says it.
find_store() {
    address=
    case $RP_STORE in
        "")
            [ -z "$RP_ROOT$RP_BUCKET$RP_PATH_PREFIX" ] ||
                fail 2 "the input store is missing: s3 goes with bucket, file with root"
            ;;
        file)
            [ -n "$RP_ROOT" ] || fail 2 "with the store file, the input root is its directory"
            address=file:$RP_ROOT
            ;;
        s3)
            [ -n "$RP_BUCKET" ] || fail 2 "with the store s3, the input bucket is needed"
            address=s3://$RP_BUCKET/$RP_PATH_PREFIX
            ;;
        *) fail 2 "the input store is s3, file or nothing" ;;
    esac
    if [ -n "$RP_ENDPOINT" ]; then
        export RUNPACK_STORE_ENDPOINT="$RP_ENDPOINT"
    fi
    if [ -n "$RP_REGION" ]; then
        export RUNPACK_STORE_REGION="$RP_REGION"
    fi
}
