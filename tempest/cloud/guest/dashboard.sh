# Horizon behind Apache. Sourced by configure.sh.
# shellcheck shell=bash disable=SC2154

write_dashboard() {
	cat >/etc/openstack-dashboard/local_settings.d/_90_cloud.py <<-CONF
		ALLOWED_HOSTS = ["*"]
		OPENSTACK_HOST = "$CONTROL_IP"
		OPENSTACK_KEYSTONE_URL = "$IDENTITY_URL"
		OPENSTACK_KEYSTONE_DEFAULT_ROLE = "member"
		CONSOLE_TYPE = "SERIAL"
		SESSION_ENGINE = "django.contrib.sessions.backends.cache"
		CACHES = {
		    "default": {
		        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
		        "LOCATION": "$CACHE",
		    }
		}
	CONF
	# Debian's own site serves it at the root of every name; its links say /horizon.
	cat >/etc/apache2/sites-available/cloud-dashboard.conf <<-'CONF'
		<VirtualHost *:80>
		    RedirectMatch "^/$" "/horizon/"
		    WSGIDaemonProcess cloud-dashboard user=www-data group=www-data processes=1 threads=6
		    WSGIProcessGroup cloud-dashboard
		    WSGIApplicationGroup %{GLOBAL}
		    Alias /horizon/static /var/lib/openstack-dashboard/static
		    WSGIScriptAlias /horizon /usr/share/openstack-dashboard/wsgi.py
		    <Directory /usr/share/openstack-dashboard>
		        Require all granted
		    </Directory>
		    <Directory /var/lib/openstack-dashboard/static>
		        Require all granted
		    </Directory>
		</VirtualHost>
	CONF
	local site
	for site in /etc/apache2/sites-enabled/*.conf; do
		[ -e "$site" ] && a2dissite --quiet "$(basename "$site" .conf)" >/dev/null
	done
	a2enmod --quiet wsgi >/dev/null
	a2ensite --quiet cloud-dashboard >/dev/null
}
