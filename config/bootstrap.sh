#!/usr/bin/env bash
# What must happen before any of our own programs can run: system packages, npm
# packages, compiled TypeScript, native parts. Does only what is missing.
#
#   config/bootstrap.sh up     for `npm run up`
#   config/bootstrap.sh test   for `npm test`: the packages the tests need too
#   config/bootstrap.sh cloud  for `npm run cloud`
#
# Needs nothing but bash, Node with npm, and apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

goal=${1:-up}
case $goal in
	up | test | cloud) ;;
	*)
		echo "usage: config/bootstrap.sh up|test|cloud" >&2
		exit 2
		;;
esac

mkdir -p .cache
log=.cache/bootstrap-$goal.log
: >"$log"

export DEBIAN_FRONTEND=noninteractive
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
readonly OLDEST_NODE=20
readonly APT_WAIT_SECONDS=900

# Jobs that must not outlive this script.
job=
beside=
watcher=
end_jobs() {
	local pid
	for pid in $job $beside; do kill_tree "$pid"; done
	[ -z "$watcher" ] || end_watcher
}

# A job of a script does not hear Ctrl-C, and its children do not hear of its end.
kill_tree() {
	local file child children
	for file in "/proc/$1/task/"*/children; do
		children=()
		{ read -ra children <"$file"; } 2>/dev/null || true
		for child in "${children[@]}"; do kill_tree "$child"; done
	done
	kill "$1" 2>/dev/null || true
}

trap end_jobs EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*"; }

die() {
	printf 'slipway: %s\n' "$*" >&2
	exit 1
}

# alive STARTED LOG: says every while how long it takes and what is being done.
alive() {
	local never text
	exec {never}<> <(:)
	# The read never gets anything: it only waits, without a process to clean up.
	while ! read -rt 15 -u "$never"; do
		text=$(tail -n 1 "$2" | tr -d '\r' | cut -c 1-70)
		say "   $(since "$1") s: ${text:-still at it}"
	done
}

# KILL: whoever started us may have left TERM ignored, and the watcher has nothing to tidy.
end_watcher() {
	kill -KILL "$watcher" 2>/dev/null || true
	watcher=
}

# shown TEXT LOG PID STARTED: waits for a job, and tells how it ended.
shown() {
	local text=$1 output=$2 pid=$3 began=$4
	alive "$began" "$output" &
	watcher=$!
	disown "$watcher"
	if wait "$pid"; then
		end_watcher
		say "   done in $(since "$began") s"
	else
		end_watcher
		say "   failed after $(since "$began") s; the last lines of $PWD/$output:"
		tail -n 30 "$output" | sed 's/^/   | /'
		die "could not finish: $text"
	fi
}

# step TEXT COMMAND...: runs it with its output in the log, says what and how long.
step() {
	local text=$1 began=$EPOCHREALTIME
	shift
	say "-> $text ..."
	echo "== $text" >>"$log"
	"$@" >>"$log" 2>&1 </dev/null &
	job=$!
	shown "$text" "$log" "$job" "$began"
	job=
}

since() {
	local tenths=$(((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000))
	printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# --- system packages -------------------------------------------------------

# proven PROOF: true when what the list names as proof is on this machine.
proven() {
	case $1 in
		program:*) type -P "${1#program:}" >/dev/null ;;
		file:*) compgen -G "${1#file:}" >/dev/null ;;
		*) die "config/packages.txt: \"$1\" is no proof" ;;
	esac
}

# missing USE...: lines "use|names|why" of the list whose proof is absent.
missing() {
	local use proof names why
	while IFS='|' read -r use proof names why; do
		use=${use//[[:space:]]/}
		[[ -z $use || $use == '#'* ]] && continue
		[[ " $* " == *" $use "* ]] || continue
		read -r proof <<<"$proof"
		proven "$proof" || printf '%s|%s|%s\n' "$use" "$names" "$why"
	done <config/packages.txt
}

# The lists have a lock of their own that apt does not wait for by itself.
apt_update() {
	local until=$((SECONDS + APT_WAIT_SECONDS)) text
	while ! text=$(apt-get update 2>&1); do
		printf '%s\n' "$text"
		grep -q 'Could not get lock' <<<"$text" || return 1
		((SECONDS < until)) || return 1
		sleep 2
	done
	printf '%s\n' "$text"
}

apt_install() {
	dpkg --configure -a
	apt-get install -y --no-install-recommends \
		-o DPkg::Lock::Timeout=$APT_WAIT_SECONDS \
		-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

has_candidate() {
	local policy
	policy=$(apt-cache policy "$1" 2>/dev/null)
	[[ $policy == *Candidate:* && $policy != *'Candidate: (none)'* ]]
}

# Services of packages that only tests need must not start on this machine.
hold_services() {
	[ -e /usr/sbin/policy-rc.d ] && return
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	trap 'end_jobs; rm -f /usr/sbin/policy-rc.d' EXIT
}

# choose LINE...: sets chosen to the packages to install, stops for what no release has.
chosen=()
choose() {
	local line use names why name found
	for line in "$@"; do
		IFS='|' read -r use names why <<<"$line"
		found=
		for name in $names; do
			if has_candidate "$name"; then
				found=$name
				break
			fi
		done
		if [ -n "$found" ]; then
			chosen+=("$found")
		elif [ "$use" = extra ] || [ "$use" = test ]; then
			say "   this release has none of:$names(${why# })"
		else
			die "this release has none of:$names, and without it:${why}. Debian 12 or newer and Ubuntu 22.04 or newer have it."
		fi
	done
}

system_packages() {
	local uses=(run image build extra) lines=()
	[ "$goal" = up ] || uses+=("$goal")
	mapfile -t lines < <(missing "${uses[@]}")
	if [ ${#lines[@]} -eq 0 ]; then
		say "-> system packages: nothing is missing"
		return
	fi
	type -P apt-get >/dev/null ||
		die "packages are missing and there is no apt-get to install them with. 'node dist/process/slipway.js check' lists them once the sources are built."
	step "package lists of apt" apt_update
	choose "${lines[@]}"
	[ ${#chosen[@]} -eq 0 ] && return
	[ "$goal" = test ] && hold_services
	# A half configured dpkg is worse than waiting: no interruption here.
	trap '' INT TERM
	step "system packages: ${chosen[*]}" apt_install "${chosen[@]}"
	trap 'exit 130' INT TERM
	rm_hold
}

rm_hold() {
	trap end_jobs EXIT
	if [ "$goal" = test ] && [ "$(cat /usr/sbin/policy-rc.d 2>/dev/null)" = $'#!/bin/sh\nexit 101' ]; then
		rm -f /usr/sbin/policy-rc.d
	fi
}

# --- npm packages ------------------------------------------------------------

# Headers of this very Node, when they lie beside it; else node-gyp fetches them.
node_headers() {
	local prefix
	prefix=$(node -p 'require("node:path").resolve(process.execPath, "../..")')
	if [ -e "$prefix/include/node/node_api.h" ]; then
		export npm_config_nodedir=$prefix
	fi
}

sqlite_loads() {
	node -e 'new (require("better-sqlite3"))(":memory:").close()' >/dev/null 2>&1
}

# Install scripts stay off: the one that matters is the SQLite driver's, and it is
# run here, first as a download and else as a build, so that its failure is seen.
npm_packages() {
	if [ node_modules/.package-lock.json -nt package-lock.json ]; then
		say "-> npm packages: up to date"
	else
		step "npm packages" npm ci --ignore-scripts --no-audit --no-fund
		touch node_modules/.package-lock.json
	fi
	sqlite_loads || sqlite_download || say "   no built SQLite driver can be downloaded; it is compiled below"
}

sqlite_download() {
	(
		cd node_modules/better-sqlite3
		timeout 60 node ../prebuild-install/bin.js
	) >>"$log" 2>&1 && sqlite_loads
}

# --- our own parts -----------------------------------------------------------

# newer MARK PATH...: true when the mark is absent or a source is newer than it.
newer() {
	local mark=$1
	shift
	[ ! -e "$mark" ] && return 0
	[ -n "$(find "$@" \( -name '*.ts' -o -name package-lock.json \) -newer "$mark" -print -quit 2>/dev/null)" ]
}

build_typescript() {
	npm run --silent build && touch dist/.built
}

typescript() {
	if newer dist/.built {process,config,native,api,driver}/ package-lock.json; then
		step "TypeScript, bundled" build_typescript
	else
		say "-> TypeScript: up to date"
	fi
}

# The script of native/ knows by itself what is up to date. A driver that was
# built for another Node counts as missing.
build_native() {
	sqlite_loads || rm -rf node_modules/better-sqlite3/build
	npm run --silent build:native
	sqlite_loads
}

# Compiling C and compiling TypeScript do not need each other: two processors, two jobs.
own_parts() {
	local began=$EPOCHREALTIME
	build_native >"$log.native" 2>&1 </dev/null &
	beside=$!
	typescript
	say "-> native parts and SQLite driver (begun beside TypeScript) ..."
	shown "native parts" "$log.native" "$beside" "$began"
	beside=
}

# --- in order ----------------------------------------------------------------

type -P node >/dev/null || die "there is no Node. Install Node $OLDEST_NODE or newer with npm."
major=$(node -p 'process.versions.node.split(".")[0]')
((major >= OLDEST_NODE)) || die "Node $(node -v) is too old; $OLDEST_NODE or newer is needed"
[ "$(id -u)" = 0 ] || die "this sets up a container host and must be run as root (for example: sudo npm run $goal)"

started=$EPOCHREALTIME
system_packages
node_headers
npm_packages
own_parts
say "-> ready to run after $(since "$started") s"
