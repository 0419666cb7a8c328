#!/usr/bin/env bash
# Installs the built program on this machine: `npm run install-host`. What runs
# needs neither this folder nor npm afterwards. Run again, it upgrades.
#
#   config/install.sh            install
#   config/install.sh --remove   remove programs and units; configuration and data stay
#
#   PREFIX   where programs go, default /usr
#   DESTDIR  put in front of every path: for packages; nothing else of the machine is touched then
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

prefix=${PREFIX:-/usr}
dest=${DESTDIR:-}
etc=/etc
[ "$prefix" = /usr ] || etc=$prefix/etc
readonly prefix dest etc
readonly program=$prefix/lib/slipway
readonly units=$prefix/lib/systemd/system

die() {
	printf 'slipway: %s\n' "$*" >&2
	exit 1
}

# put MODE SOURCE TARGET: one file, whole or not at all.
put() {
	install -D -m "$1" "$2" "$dest$3.new"
	mv "$dest$3.new" "$dest$3"
}

# sample SOURCE TARGET: a configuration file is the operator's once it is there.
sample() {
	[ -e "$dest$2" ] || put 0644 "$1" "$2"
}

# listed FOLDER: the files a build wrote, by the list it left.
listed() {
	[ ! -e "$1/dist/files.json" ] ||
		node -e 'for (const file of JSON.parse(require("fs").readFileSync(process.argv[1]))) console.log(file)' \
			"$1/dist/files.json"
}

# A program that runs may still load parts of the version it was started from:
# those of the last one stay beside the new ones.
program_files() {
	local new=$dest$program.new old=$dest$program last=$dest$program.old file
	rm -rf "$new" "$last"
	listed . | while read -r file; do install -D -m 0644 "$file" "$new/$file"; done
	listed "$old" | while read -r file; do
		[ -e "$new/$file" ] || [ ! -e "$old/$file" ] || install -D -m 0644 "$old/$file" "$new/$file"
	done
	install -m 0644 dist/files.json "$new/dist/files.json"
	install -m 0644 package.json LICENSE "$new/"
	install -D -m 0644 config/packages.txt "$new/config/packages.txt"
	install -D -m 0755 native/build/Release/slipway-helper "$new/native/build/Release/slipway-helper"
	install -m 0644 native/build/Release/slipway.node "$new/native/build/Release/slipway.node"
	driver_files "$new/node_modules"
	[ ! -e "$old" ] || mv "$old" "$last"
	mv "$new" "$old"
	rm -rf "$last"
}

# The SQLite driver and what it loads; everything else is part of dist/.
driver_files() {
	local name
	for name in bindings file-uri-to-path; do
		mkdir -p "$1"
		cp -r "node_modules/$name" "$1/"
	done
	name=better-sqlite3
	mkdir -p "$1/$name/build/Release"
	cp -r "node_modules/$name/"{package.json,LICENSE,lib} "$1/$name/"
	cp "node_modules/$name/build/Release/better_sqlite3.node" "$1/$name/build/Release/"
}

command_file() {
	local text node
	node=$(node -p process.execPath)
	case $node in
		/home/* | /root/*) echo "slipway: $node is in a home folder, where services may not look: install Node for all users" >&2 ;;
	esac
	text=$(mktemp)
	printf '#!/bin/sh\nexec %q %q "$@"\n' "$node" "$program/dist/process/slipway.js" >"$text"
	put 0755 "$text" "$prefix/bin/slipway"
	rm -f "$text"
}

unit_files() {
	local unit text
	text=$(mktemp)
	for unit in config/etc/systemd/*; do
		sed "s|/usr/bin/slipway|$prefix/bin/slipway|" "$unit" >"$text"
		put 0644 "$text" "$units/${unit##*/}"
	done
	rm -f "$text"
	put 0644 config/etc/sysusers.d/slipway.conf "$prefix/lib/sysusers.d/slipway.conf"
}

is_this_machine() {
	[ -z "$dest" ] && [ "$prefix" = /usr ] && [ -d /run/systemd/system ]
}

remove() {
	local unit
	for unit in config/etc/systemd/*; do
		if is_this_machine; then systemctl disable --now "${unit##*/}" 2>/dev/null || true; fi
		rm -f "$dest$units/${unit##*/}"
	done
	if is_this_machine; then systemctl daemon-reload; fi
	rm -f "$dest$prefix/bin/slipway" "$dest$prefix/lib/sysusers.d/slipway.conf" "$dest$etc/logrotate.d/slipway"
	rm -rf "$dest$program" "$dest$prefix/share/doc/slipway"
	echo "removed; configuration in $dest$etc/slipway and data in /var/lib/slipway stay"
}

case ${1:-} in
	'') ;;
	--remove)
		remove
		exit
		;;
	*) die "\"$1\" is not known; there is --remove" ;;
esac

[ -e dist/process/slipway.js ] || die 'there is nothing built to install; "npm run install-host" builds it first'
program_files
command_file
unit_files
sample config/etc/logrotate.d/slipway "$etc/logrotate.d/slipway"
sample config/etc/slipway.conf "$etc/slipway/slipway.conf"
put 0644 config/etc/nova.conf "$prefix/share/doc/slipway/nova.conf"
for page in docs/man/*.md docs/operating-with-openstack.md; do
	put 0644 "$page" "$prefix/share/doc/slipway/${page##*/}"
done
echo "installed in $dest$program, the command is $dest$prefix/bin/slipway"

if is_this_machine; then
	systemd-sysusers slipway.conf
	systemctl daemon-reload
	echo 'next: systemctl enable --now slipway.socket slipway.service slipway-containers.service'
	echo 'and, with /etc/nova/nova.conf in place: systemctl enable --now slipway-compute.service'
fi
