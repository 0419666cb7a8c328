# Keystone, Glance, Placement, Nova and Cinder. Sourced by configure.sh.
# shellcheck shell=bash disable=SC2154

readonly IDENTITY_URL=http://$CONTROL_IP:5000/v3
readonly BROKER_URL=rabbit://openstack:$PASSWORD@$CONTROL_IP:5672/
readonly CACHE=127.0.0.1:11211
readonly SERVICE_URLS=(
	"http://$CONTROL_IP:9292/healthcheck" "http://$CONTROL_IP:8778/" "http://$CONTROL_IP:8774/"
	"http://$CONTROL_IP:9696/" "http://$CONTROL_IP:8776/" "http://$CONTROL_IP:8775/"
)

# Any answer will do: versions are told with status 300.
await_http() {
	local left
	for ((left = 240; left > 0; left--)); do
		curl --silent --output /dev/null --max-time 10 "$1" && return
		sleep 0.5
	done
	echo "nobody answers at $1"
	return 1
}

# keep GROUP FILE: standard input becomes the file, readable by that group alone.
keep() { install -D -o root -g "$1" -m 0640 /dev/stdin "$2"; }

# login SECTION USER: how a service logs in to Keystone.
login() {
	cat <<-CONF
		[$1]
		auth_type = password
		auth_url = $IDENTITY_URL
		username = $2
		password = $PASSWORD
		user_domain_name = Default
		project_name = service
		project_domain_name = Default
		region_name = $REGION
	CONF
}

# guard USER: how a service checks the tokens it is shown.
guard() {
	login keystone_authtoken "$1"
	cat <<-CONF
		www_authenticate_uri = $IDENTITY_URL
		memcached_servers = $CACHE
		service_token_roles = service
		service_token_roles_required = true
	CONF
}

# uwsgi FILE PROCESSES THREADS. A second process is started when the first is
# busy: each loads the whole program, and at boot everybody does that at once.
# After each answer uwsgi closes the connection without a word, and the next
# request of a client that kept it is lost: say so.
uwsgi() {
	sed -i -E "s/^processes = .*/processes = $2/; s/^threads = .*/threads = $3/" "$1"
	grep -q '^add-header = Connection' "$1" && return
	echo 'add-header = Connection: close' >>"$1"
	[ "$2" = 1 ] || printf 'cheaper = 1\ncheaper-initial = 1\n' >>"$1"
}

write_keystone() {
	keep keystone /etc/keystone/keystone.conf <<-CONF
		[DEFAULT]
		log_dir = /var/log/keystone
		[database]
		connection = $(database_url keystone keystone)
		[token]
		provider = fernet
		expiration = 86400
		[cache]
		enabled = true
		backend = dogpile.cache.pymemcache
		memcache_servers = $CACHE
	CONF
	uwsgi /etc/keystone/keystone-uwsgi.ini 2 1
}

write_glance() {
	install -d -o glance -g glance /var/lib/glance/{images,staging,tasks}
	keep glance /etc/glance/glance-api.conf <<-CONF
		[DEFAULT]
		log_dir = /var/log/glance
		enabled_backends = disk:file
		[glance_store]
		default_backend = disk
		[disk]
		filesystem_store_datadir = /var/lib/glance/images/
		[os_glance_staging_store]
		filesystem_store_datadir = /var/lib/glance/staging/
		[os_glance_tasks_store]
		filesystem_store_datadir = /var/lib/glance/tasks/
		[database]
		connection = $(database_url glance glance)
		[paste_deploy]
		flavor = keystone
		$(guard glance)
	CONF
	uwsgi /etc/glance/glance-api-uwsgi.ini 1 4
}

write_placement() {
	keep placement /etc/placement/placement.conf <<-CONF
		[DEFAULT]
		log_dir = /var/log/placement
		[placement_database]
		connection = $(database_url placement placement)
		[api]
		auth_strategy = keystone
		$(guard placement)
	CONF
	uwsgi /etc/placement/placement-api-uwsgi.ini 1 1
}

write_nova() {
	keep nova /etc/nova/nova.conf <<-CONF
		[DEFAULT]
		my_ip = $CONTROL_IP
		transport_url = $BROKER_URL
		log_dir = /var/log/nova
		state_path = /var/lib/nova
		[api_database]
		connection = $(database_url nova nova_api)
		[database]
		connection = $(database_url nova nova)
		[api]
		auth_strategy = keystone
		[cache]
		enabled = true
		backend = dogpile.cache.pymemcache
		memcache_servers = $CACHE
		[conductor]
		workers = 1
		[scheduler]
		workers = 1
		discover_hosts_in_cells_interval = 5
		[quota]
		instances = 200
		cores = -1
		ram = -1
		[oslo_concurrency]
		lock_path = /run/lock/nova
		[vnc]
		enabled = false
		[serial_console]
		enabled = true
		base_url = ws://$CONTROL_IP:6083/
		serialproxy_host = 0.0.0.0
		[glance]
		region_name = $REGION
		[cinder]
		os_region_name = $REGION
		$(login placement placement)
		$(login neutron neutron)
		service_metadata_proxy = true
		metadata_proxy_shared_secret = $PASSWORD
		$(login service_user nova)
		send_service_user_token = true
		$(guard nova)
	CONF
	[ -e /etc/nova/api-paste.ini ] || cp /usr/share/nova-common/api-paste.ini /etc/nova/
	uwsgi /etc/nova/nova-api-uwsgi.ini 2 1
	uwsgi /etc/nova/nova-api-metadata-uwsgi.ini 1 1
	# A second compute service on request, to measure against.
	keep nova /etc/nova/fake-compute.conf <<-CONF
		[DEFAULT]
		host = fake-host
		compute_driver = fake.FakeDriver
		instances_path = /var/lib/nova/instances
	CONF
}

write_cinder() {
	install -d -o cinder -g cinder /var/lib/cinder/files
	install -m 0644 ./file_volumes.py /usr/lib/python3/dist-packages/file_volumes.py
	keep cinder /etc/cinder/cinder.conf <<-CONF
		[DEFAULT]
		my_ip = $CONTROL_IP
		transport_url = $BROKER_URL
		auth_strategy = keystone
		log_dir = /var/log/cinder
		state_path = /var/lib/cinder
		enabled_backends = files
		glance_api_servers = http://$CONTROL_IP:9292
		volume_clear = none
		[files]
		volume_driver = file_volumes.FileVolumes
		volume_backend_name = files
		[database]
		connection = $(database_url cinder cinder)
		[oslo_concurrency]
		lock_path = /run/lock/cinder
		$(login nova nova)
		$(login service_user cinder)
		send_service_user_token = true
		$(guard cinder)
	CONF
	[ -e /etc/cinder/api-paste.ini ] || cp /usr/share/cinder-common/api-paste.ini /etc/cinder/
	uwsgi /etc/cinder/cinder-api-uwsgi.ini 1 1
}

write_services() {
	write_keystone
	write_glance
	write_placement
	write_nova
	write_cinder
	cat >/root/openrc <<-CONF
		export OS_AUTH_TYPE=password OS_AUTH_URL=$IDENTITY_URL OS_IDENTITY_API_VERSION=3
		export OS_USERNAME=admin OS_PASSWORD=$PASSWORD OS_PROJECT_NAME=admin
		export OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_REGION_NAME=$REGION
	CONF
}
