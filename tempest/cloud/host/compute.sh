#!/bin/sh
# Runs a program of the project as an ordinary user, wherever the project and
# Node lie: both are bound to places that everybody may read.
#
#   unshare --mount sh compute.sh USER GROUP NODE PROJECT PLACE [ARGUMENT ...]
set -eu
user=$1
group=$2
node=$3
project=$4
place=$5
shift 5

mount --make-rprivate /
mkdir -p "$place/project"
: >>"$place/node"
mount --bind "$project" "$place/project"
mount --bind "$node" "$place/node"
cd /
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME="$place" \
	setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --inh-caps=-all \
	"$place/node" "$place/project/dist/process/slipway.js" "$@"
