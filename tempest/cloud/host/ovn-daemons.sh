#!/bin/bash
# The host's side of OVN, inside the root that ovn-root.sh made: switch,
# controller and metadata agent. Runs until it is told to end.
set -euo pipefail
cd /srv/ovn
source ./settings.sh
readonly DATABASE=/srv/ovn/switch.db
readonly SOCKET=/run/openvswitch/db.sock
rm -f ready run/db.sock

end() {
	trap - TERM INT
	rm -f ready
	kill "${agent:-}" 2>/dev/null || true
	# Tells the southbound database that this host goes.
	ovn-appctl -t ovn-controller exit 2>/dev/null || true
	# Without --cleanup the devices of the bridges stay behind.
	ovs-appctl -t ovs-vswitchd exit --cleanup 2>/dev/null || true
	ovs-appctl -t ovsdb-server exit 2>/dev/null || true
	exit 0
}
trap end TERM INT

[ -e "$DATABASE" ] || ovsdb-tool create "$DATABASE" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server "$DATABASE" --remote="punix:$SOCKET" --pidfile --detach \
	--log-file=/srv/ovn/log/ovsdb-server.log -vconsole:off
# What guests were plugged in before is plugged in again by those who run them.
ovs-vsctl --no-wait init -- set Open_vSwitch . \
	other_config:userspace-tso-enable=true \
	external_ids:system-id="$HOST_NAME" external_ids:hostname="$HOST_NAME" \
	external_ids:ovn-remote="tcp:$CONTROL_IP:6642" \
	external_ids:ovn-encap-type=geneve external_ids:ovn-encap-ip="$HOST_IP" \
	external_ids:ovn-bridge-datapath-type="$DATAPATH" \
	external_ids:ovn-bridge-mappings="$PHYSICAL_NETWORK:$PUBLIC_BRIDGE" \
	external_ids:ovn-cms-options=enable-chassis-as-gw
# The option above is read once, at the start: in a switch that is a program
# nobody else computes the checksums that guests leave to their card.
ovs-vswitchd "unix:$SOCKET" --pidfile --detach --log-file=/srv/ovn/log/ovs-vswitchd.log -vconsole:off
ovs-vsctl --timeout=30 --may-exist add-br br-int \
	-- set Bridge br-int datapath_type="$DATAPATH" fail_mode=secure other_config:disable-in-band=true \
	-- --may-exist add-br "$PUBLIC_BRIDGE" -- set Bridge "$PUBLIC_BRIDGE" datapath_type="$DATAPATH"
ip link set "$PUBLIC_BRIDGE" up
ip address replace "$FLOATING_IP/24" dev "$PUBLIC_BRIDGE"
ovn-controller "unix:$SOCKET" --pidfile --detach --log-file=/srv/ovn/log/ovn-controller.log -vconsole:off
ip link set lo up
neutron-ovn-metadata-agent --config-file /srv/ovn/metadata.ini --log-file /srv/ovn/log/metadata-agent.log \
	>/srv/ovn/log/metadata-agent.out 2>&1 &
agent=$!
touch ready
while kill -0 "$agent" 2>/dev/null; do wait "$agent" || true; done
echo "the metadata agent has ended" >>/srv/ovn/log/metadata-agent.out
while :; do sleep infinity & wait $! || true; done
