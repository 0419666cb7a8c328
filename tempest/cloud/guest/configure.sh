#!/usr/bin/env bash
# Turns the freshly booted image into a control plane. Run once, as root, inside.
#
# settings.sh beside it says who we are. Each step is announced in
# /run/cloud-step, and everything that is printed is kept in
# /var/log/cloud-setup.log by whoever calls this.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

source ./settings.sh
source ./stores.sh
source ./services.sh
source ./network.sh
source ./dashboard.sh
source ./units.sh

announce() {
	printf '%s\n' "$*" >/run/cloud-step
	printf '== %s: %s\n' "$(date +%T)" "$*"
}

# as USER COMMAND...: a management command of a service, under its own user.
as() {
	local user=$1
	shift
	runuser -u "$user" -- "$@"
}

# Schemas need their database and nothing else, so all are made at once.
schema_of_keystone() {
	as keystone keystone-manage db_sync
	keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
	keystone-manage credential_setup --keystone-user keystone --keystone-group keystone
	as keystone keystone-manage bootstrap --bootstrap-password "$PASSWORD" \
		--bootstrap-region-id "$REGION" \
		--bootstrap-public-url "$IDENTITY_URL" \
		--bootstrap-internal-url "$IDENTITY_URL" \
		--bootstrap-admin-url "$IDENTITY_URL"
}

schema_of_glance() {
	as glance glance-manage db_sync
	as glance glance-manage db_load_metadefs
}

schema_of_placement() { as placement placement-manage db sync; }
schema_of_cinder() { as cinder cinder-manage db sync; }

schema_of_neutron() {
	as neutron neutron-db-manage --config-file /etc/neutron/neutron.conf \
		--config-file /etc/neutron/plugins/ml2/ml2_conf.ini upgrade heads
}

schema_of_nova() {
	as nova nova-manage api_db sync
	as nova nova-manage cell_v2 map_cell0 --database_connection "$(database_url nova nova_cell0)"
	as nova nova-manage cell_v2 create_cell --name cell1
	as nova nova-manage db sync
}

declare -A jobs=()
begin_schemas() {
	local name
	for name in keystone nova neutron cinder glance placement; do
		(
			set -euo pipefail
			"schema_of_$name"
		) >"/var/log/cloud-schema-$name.log" 2>&1 &
		jobs[$name]=$!
	done
}

finish_schema() {
	wait "${jobs[$1]}" && return
	printf 'the schema of %s could not be made:\n' "$1"
	tail -n 20 "/var/log/cloud-schema-$1.log"
	exit 1
}

announce 'database, broker and cache'
set_up_stores
announce 'settings of the services'
write_services
write_network
write_dashboard
write_units
announce 'schemas of six databases'
begin_schemas
finish_schema keystone
systemctl enable --quiet --now keystone
announce 'users and endpoints'
await_http "$IDENTITY_URL"
python3 ./register.py
announce 'schemas of the other databases'
for name in glance placement neutron cinder nova; do finish_schema "$name"; done
announce 'services'
start_services
announce 'first answers'
for url in "${SERVICE_URLS[@]}"; do await_http "$url"; done
announce 'done'
