#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The C tests, as they are or (--sanitize) under the address and
# undefined-behaviour sanitizers. What some of them mount stays in a mount
# namespace of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

case ${1:-} in
'') flags='-O2 -D_FORTIFY_SOURCE=2' ;;
--sanitize) flags='-O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' ;;
*)
	echo "usage: $0 [--sanitize]" >&2
	exit 2
	;;
esac

sources=
for file in "$here"/*.c "$here"/../helper/*.c; do
	case $file in
	*/helper/main.c) ;;
	*) sources="$sources $file" ;;
	esac
done

# shellcheck disable=SC2086 # lists of flags and files
"${CC:-cc}" -std=gnu11 -Wall -Wextra -g $flags -o "$out/test" $sources -ldl
if [ "$(id -u)" = 0 ]; then
	unshare --mount --propagation private "$out/test"
else
	"$out/test"
fi
