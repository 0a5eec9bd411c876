#!/bin/sh
# Writes the summary of the job, also where a step before failed.
#
# Invariant: nothing of a value is taken for Markdown or HTML: it is spelled in numbers.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

flag summary "$RP_SUMMARY" || exit 0

# literal: standard input, in one line.
literal() {
    awk 'BEGIN { for (i = 1; i < 256; i++) number[sprintf("%c", i)] = i }
    {
        for (at = 1; at <= length($0); at++) {
            c = substr($0, at, 1)
            if (c ~ /[A-Za-z0-9 -]/) printf "%s", c
            else if (number[c] < 32 || number[c] > 126) printf "?"
            else printf "&#%d;", number[c]
        }
        printf " "
    }'
}

# row NAME VALUE DEFAULT
row() {
    printf '| %s | <code>%s</code> |\n' "$1" "$(printf '%s\n' "${2:-$3}" | head -c 2000 | literal | sed 's/ $//')"
}

{
    printf '### Runpack\n\n| | |\n|---|---|\n'
    row 'pack id' "$RP_PACK_ID" 'none was made'
    row run "$RP_RUN_ID" ''
    row verdict "$RP_VERDICT" 'not verified'
    row store "$RP_STORAGE_URI" 'not pushed'
    if [ -n "$RP_BASELINE" ]; then
        row baseline "$RP_BASELINE" ''
        row 'verdict on the baseline' "$RP_BASELINE_VERDICT" 'not pulled'
        row artifacts "$RP_DIFF" 'not compared'
    fi
    printf '\n'
    if [ "$RP_DIFF" = different ] && [ -f "${RP_WORK:-}/diff.txt" ]; then
        printf '<details><summary>What differs</summary>\n\n<pre>\n'
        head -n 200 "$RP_WORK/diff.txt" | while IFS= read -r line; do
            printf '%s\n' "$line" | literal
            printf '\n'
        done
        printf '</pre>\n</details>\n\n'
    fi
} >>"$GITHUB_STEP_SUMMARY"
