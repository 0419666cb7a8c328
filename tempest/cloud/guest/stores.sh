# MariaDB, RabbitMQ and memcached. Sourced by configure.sh.
# shellcheck shell=bash disable=SC2154

# Databases and the account each belongs to.
readonly DATABASES=(
	keystone:keystone glance:glance placement:placement neutron:neutron cinder:cinder
	nova:nova nova:nova_api nova:nova_cell0
)

database_url() { printf 'mysql+pymysql://%s:%s@127.0.0.1/%s?charset=utf8mb4' "$1" "$PASSWORD" "$2"; }

# A cloud to try things on: what was written in the last second before a power
# cut is worth less than the time that waiting for the disk takes.
set_up_database() {
	cat >/etc/mysql/mariadb.conf.d/90-cloud.cnf <<-CONF
		[mysqld]
		bind-address = 127.0.0.1
		skip-name-resolve
		max_connections = 500
		performance_schema = off
		innodb_buffer_pool_size = 160M
		innodb_log_file_size = 64M
		innodb_flush_log_at_trx_commit = 0
		innodb_doublewrite = 0
		sync_binlog = 0
	CONF
	systemctl restart mariadb
	local pair account
	for pair in "${DATABASES[@]}"; do
		account=${pair%%:*}
		printf "CREATE DATABASE IF NOT EXISTS %s CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;\n" "${pair#*:}"
		printf "GRANT ALL ON %s.* TO '%s'@'127.0.0.1' IDENTIFIED BY '%s';\n" "${pair#*:}" "$account" "$PASSWORD"
	done | mariadb
}

# The node's name must not follow the name of the container: its data are stored under it.
set_up_broker() {
	systemctl stop rabbitmq-server
	echo 'NODENAME=rabbit@localhost' >/etc/rabbitmq/rabbitmq-env.conf
	cat >/etc/rabbitmq/rabbitmq.conf <<-CONF
		listeners.tcp.default = 5672
		vm_memory_high_watermark.absolute = 768MB
		disk_free_limit.absolute = 64MB
	CONF
	systemctl enable --quiet rabbitmq-server
	systemctl start rabbitmq-server
	rabbitmqctl --quiet await_startup
	rabbitmqctl --quiet add_user openstack "$PASSWORD" || rabbitmqctl --quiet change_password openstack "$PASSWORD"
	rabbitmqctl --quiet set_permissions openstack '.*' '.*' '.*'
}

set_up_stores() {
	sed -i 's/^-m .*/-m 48/; s/^-l .*/-l 127.0.0.1/' /etc/memcached.conf
	systemctl enable --quiet memcached mariadb
	systemctl restart memcached
	set_up_database &
	local database=$!
	set_up_broker
	wait "$database"
}
