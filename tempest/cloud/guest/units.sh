# Which units run, and units for the programs that bring none. Sourced by configure.sh.
# shellcheck shell=bash disable=SC2154

readonly SERVICES=(
	glance-api placement-api
	nova-api nova-api-metadata nova-conductor nova-scheduler nova-serialproxy
	neutron-api neutron-periodic-workers neutron-ovn-maintenance-worker
	cinder-api cinder-scheduler cinder-volume
)

# These two have an init script and nothing else.
unit_of_script() {
	cat >"/etc/systemd/system/$1.service" <<-CONF
		[Unit]
		Description=Neutron: $1
		After=network.target mariadb.service rabbitmq-server.service ovn-central.service

		[Service]
		User=neutron
		Group=neutron
		WorkingDirectory=/var/lib/neutron
		RuntimeDirectory=lock/neutron
		RuntimeDirectoryPreserve=yes
		ExecStart=/etc/init.d/$1 systemd-start
		Restart=on-failure
		RestartSec=2

		[Install]
		WantedBy=multi-user.target
	CONF
}

# Debian's compute service with the driver that does nothing: never started by itself.
unit_of_fake_compute() {
	cat >/etc/systemd/system/fake-compute.service <<-'CONF'
		[Unit]
		Description=nova-compute with the fake driver, to measure against
		After=rabbitmq-server.service nova-conductor.service

		[Service]
		User=nova
		Group=nova
		WorkingDirectory=/var/lib/nova
		ExecStartPre=mkdir -p /var/lib/nova/instances
		ExecStart=/usr/bin/python3 -c "import sys; from nova.cmd import compute; sys.argv[0] = 'nova-compute'; compute.main()" \
			--config-file /etc/nova/nova.conf --config-file /etc/nova/fake-compute.conf --log-file /var/log/nova/fake-compute.log
	CONF
}

# In each start the broker and the database come before those who need them, and a
# service that was too early tries again soon.
write_drop_ins() {
	local unit
	for unit in keystone "${SERVICES[@]}"; do
		install -D -m 0644 /dev/stdin "/etc/systemd/system/$unit.service.d/cloud.conf" <<-'CONF'
			[Unit]
			After=mariadb.service rabbitmq-server.service memcached.service
			StartLimitIntervalSec=0
			[Service]
			Restart=on-failure
			RestartSec=2
			TimeoutStopSec=10
		CONF
	done
	# A server can boot without these: in the rush of a start they come last.
	for unit in cinder-api cinder-scheduler cinder-volume nova-serialproxy apache2; do
		install -D -m 0644 /dev/stdin "/etc/systemd/system/$unit.service.d/later.conf" <<-'CONF'
			[Service]
			Nice=10
		CONF
	done
}

write_units() {
	unit_of_script neutron-periodic-workers
	unit_of_script neutron-ovn-maintenance-worker
	unit_of_fake_compute
	write_drop_ins
	systemctl daemon-reload
}

start_services() {
	open_ovn_databases
	systemctl enable --quiet --now "${SERVICES[@]}" apache2
	systemctl restart apache2
}
