#!/usr/bin/env bash
# Runs checks and tests in order, the fastest first, and stops at the first that fails.
#
#   config/run-tests.sh                      everything
#   config/run-tests.sh STAGE ...            some of: format lint arrows unused types
#                                            unit contract native sanitizers integration
#   config/run-tests.sh integration NAME     only files whose path contains NAME
#   config/run-tests.sh cloud [NAME]         against the cloud of `npm run cloud`, which must be up
#   config/run-tests.sh outages [NAME]       the same, while services of its control plane are killed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly STAGES=(format lint arrows unused types unit contract native sanitizers integration)
# A test that waits for ever must fail, not hang.
readonly TEST_LIMIT_MS=900000
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# files FOLDER [PART]: the test files below test/FOLDER whose path contains PART.
files() {
	find "test/$1" -name '*.test.ts' -path "*${2:-}*" | sort
}

# node_tests CONCURRENCY FOLDER [PART]
node_tests() {
	local at_once=$1 list=()
	shift
	mapfile -t list < <(files "$@")
	if [ ${#list[@]} -eq 0 ]; then
		echo "no test file below test/$1 matches \"${2:-}\"" >&2
		return 1
	fi
	node --import tsx --test --test-reporter=spec --test-timeout=$TEST_LIMIT_MS \
		--test-concurrency="$at_once" "${list[@]}" </dev/null
}

run_stage() {
	local stage=$1
	shift
	case $stage in
		format) prettier --check --log-level warn . ;;
		lint) eslint . ;;
		arrows) depcruise --output-type err process config native api driver tempest ;;
		unused) knip --no-progress ;;
		types) tsc --noEmit -p . ;;
		unit) node_tests "$(nproc)" unit "$@" ;;
		contract) node_tests "$(nproc)" contract "$@" ;;
		# Containers, bridges and loop devices are shared by the machine: one file after the other.
		integration) node_tests 1 integration "$@" ;;
		cloud | outages) node_tests 1 "$stage" "$@" ;;
		native) npm run --silent test:native ;;
		sanitizers) npm run --silent test:native -- --sanitize ;;
		*)
			echo "there is no stage \"$stage\"; there are: ${STAGES[*]} cloud outages" >&2
			return 2
			;;
	esac
}

since() {
	local tenths=$(((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000))
	printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

timed() {
	local started=$EPOCHREALTIME
	echo "== $1"
	if run_stage "$@"; then
		echo "== $1: passed, $(since "$started")"
	else
		echo "== $1: FAILED after $(since "$started")"
		exit 1
	fi
}

started=$EPOCHREALTIME
if [ $# -ge 1 ] && [[ " unit contract integration cloud outages " == *" $1 "* ]]; then
	timed "$@"
	exit
fi
[ $# -gt 0 ] || set -- "${STAGES[@]}"
for stage in "$@"; do timed "$stage"; done
echo "== everything passed, $(since "$started")"
