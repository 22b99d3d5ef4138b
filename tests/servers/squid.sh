start() {
  [ -f /etc/squid/test.conf ] || {
    cat > /etc/squid/test.conf <<'END'
http_port 3128
acl well dst 127.0.0.1 ::1
acl closed urlpath_regex ^/closed
http_access deny closed
http_access allow well
http_access deny all
visible_hostname servers.example.org
access_log none
cache_log /dev/stderr
cache deny all
cache_mem 8 MB
pinger_enable off
shutdown_lifetime 0 seconds
END
    echo "origin is well" > /var/www/html/well
    cat > /etc/nginx/test.conf <<'END'
daemon off;
error_log stderr;
events {}
http {
  access_log off;
  server {
    listen 80;
    listen [::]:80;
    root /var/www/html;
  }
}
END
    # What it asks for its clients.
    nginx -c /etc/nginx/test.conf &
  }
  squid -N -f /etc/squid/test.conf &
}
