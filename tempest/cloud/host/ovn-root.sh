#!/bin/sh
# Puts together the root file system the host's side of OVN runs in, and starts
# it there: the tree of the control plane below, what is written above.
#
#   unshare --mount --pid --fork --kill-child sh ovn-root.sh TREE FOLDER
#
# Mounts and processes are in namespaces of their own: they end with this one.
# The network is the host's. FOLDER keeps what must outlive a restart.
set -eu
tree=$1
folder=$2
here=$(dirname "$0")

mount --make-rprivate /
root=$folder/root
mkdir -p "$root" "$folder/upper" "$folder/work" "$folder/run" "$folder/log"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mkdir -p "$root/run/openvswitch" "$root/run/ovn" "$root/run/lock/neutron" "$root/run/netns" "$root/srv/ovn"
mount --bind "$folder" "$root/srv/ovn"
# Others reach the switch through this folder.
mount --bind "$folder/run" "$root/run/openvswitch"
cp "$here/ovn-daemons.sh" "$folder/ovn-daemons.sh"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
	chroot "$root" /bin/bash /srv/ovn/ovn-daemons.sh
