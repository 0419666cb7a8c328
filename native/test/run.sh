#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The C tests: plain, then under the address and undefined-behaviour sanitizers.
# The scratch mounts of some tests stay in a mount namespace of their own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

sources="$here/main.c"
for file in "$here"/test_*.c "$here"/../helper/*.c; do
	case $file in
	*/helper/main.c) ;;
	*) sources="$sources $file" ;;
	esac
done

run() {
	if [ "$(id -u)" = 0 ]; then
		unshare --mount --propagation private "$@"
	else
		"$@"
	fi
}

build() {
	# shellcheck disable=SC2086 # a list of files
	"${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -g "$@" $sources -ldl
}

build -O2 -D_FORTIFY_SOURCE=2 -o "$out/plain"
run "$out/plain"
build -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -o "$out/sanitized"
run "$out/sanitized" >"$out/log" 2>&1 || { cat "$out/log"; exit 1; }
echo "the same under ASan and UBSan: $(tail -n 1 "$out/log")"
