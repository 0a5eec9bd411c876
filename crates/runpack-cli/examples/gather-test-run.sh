#!/usr/bin/env bash
# Runs this project's core tests and gathers what the run left behind into one directory, ready for
# `runpack export`:
#
#   spec.json         what was to be run; its digest is the run's spec hash
#   environment.json  what it ran on
#   test.log          what it said
#   junit.xml         its results, where cargo-nextest is installed
#
# usage: crates/runpack-cli/examples/gather-test-run.sh DIRECTORY
#
# The files are gathered of a failed run too, for that is evidence as well; the exit code is the tests' own.
set -euo pipefail

out=${1:?usage: gather-test-run.sh DIRECTORY}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../../.."

# A value as a JSON string: what these few values can hold needs no more than this.
json() {
    printf '"%s"' "$(printf '%s' "$1" | tr -d '"\\' | tr '\n\t' '  ')"
}

if cargo nextest --version >/dev/null 2>&1; then
    tests=(cargo nextest run --package runpack-core --lib -E 'test(manifest::) or test(key::) or test(name::)' --profile ci)
else
    tests=(cargo test --package runpack-core --lib -- manifest:: key:: name::)
fi

printf '{"command":%s}\n' "$(json "${tests[*]}")" >"$out/spec.json"

junit=target/nextest/ci/junit.xml
rm -f "$junit"
status=0
"${tests[@]}" 2>&1 | tee "$out/test.log" || status=$?

if [ -f "$junit" ]; then
    cp "$junit" "$out/junit.xml"
fi

printf '{"rustc":%s,"commit":%s,"os":%s,"exit_code":%d}\n' \
    "$(json "$(rustc --version)")" \
    "$(json "$(git rev-parse HEAD 2>/dev/null || echo unknown)")" \
    "$(json "$(uname -srm)")" \
    "$status" >"$out/environment.json"

exit "$status"
