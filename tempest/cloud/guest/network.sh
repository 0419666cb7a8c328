# Neutron with OVN. Sourced by configure.sh.
# shellcheck shell=bash disable=SC2154

write_network() {
	keep neutron /etc/neutron/neutron.conf <<-CONF
		[DEFAULT]
		core_plugin = ml2
		service_plugins = ovn-router,segments,trunk,port_forwarding,qos
		transport_url = $BROKER_URL
		auth_strategy = keystone
		log_dir = /var/log/neutron
		state_path = /var/lib/neutron
		api_workers = 1
		rpc_workers = 0
		rpc_state_report_workers = 0
		notify_nova_on_port_status_changes = true
		notify_nova_on_port_data_changes = true
		send_events_interval = 1
		[quotas]
		quota_port = 2000
		quota_floatingip = 200
		[database]
		connection = $(database_url neutron neutron)
		[oslo_concurrency]
		lock_path = /run/lock/neutron
		$(login nova nova)
		$(login placement placement)
		$(guard neutron)
	CONF
	keep neutron /etc/neutron/plugins/ml2/ml2_conf.ini <<-CONF
		[ml2]
		mechanism_drivers = ovn
		type_drivers = flat,geneve,local
		tenant_network_types = geneve
		extension_drivers = port_security,qos
		[ml2_type_flat]
		flat_networks = $PHYSICAL_NETWORK
		[ml2_type_geneve]
		vni_ranges = 1:65536
		max_header_size = 38
		[securitygroup]
		enable_security_group = true
		[ovn]
		ovn_nb_connection = tcp:127.0.0.1:6641
		ovn_sb_connection = tcp:127.0.0.1:6642
		ovn_metadata_enabled = true
		enable_distributed_floating_ip = true
		# Routers would drop what is larger than a tenant's frame, and take the large
		# segments that cards cut up later for such. Both ends of a TCP connection know
		# the size from their own card.
		ovn_emit_need_to_frag = false
	CONF
	[ -e /etc/neutron/api-paste.ini ] || cp /usr/share/neutron-common/api-paste.ini /etc/neutron/
	uwsgi /etc/neutron/neutron-api-uwsgi.ini 1 1
}

# Northbound for Neutron beside it, southbound for the hosts.
open_ovn_databases() {
	systemctl enable --quiet --now ovn-central
	local left
	for ((left = 120; left > 0; left--)); do
		if ovn-nbctl --no-leader-only set-connection ptcp:6641:127.0.0.1 2>/dev/null &&
			ovn-sbctl --no-leader-only set-connection ptcp:6642:0.0.0.0 2>/dev/null; then
			return
		fi
		sleep 0.5
	done
	echo "the databases of OVN do not answer"
	return 1
}
