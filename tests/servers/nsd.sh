start() {
  [ -f /etc/nsd/test.conf ] || {
    cat > /etc/nsd/test.conf <<'END'
server:
  ip-address: 127.0.0.1
  ip-address: ::1
  zonesdir: /etc/nsd
  username: nsd
  pidfile: ""
  database: ""
remote-control:
  control-enable: no
zone:
  name: example.org
  zonefile: example.org
zone:
  name: 2.0.192.in-addr.arpa
  zonefile: reverse
END
    cat > /etc/nsd/example.org <<'END'
$TTL 60
@ IN SOA ns admin 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
www IN A 192.0.2.1
www IN A 192.0.2.2
www IN AAAA 2001:db8::1
alias IN CNAME www
mail IN MX 10 www
END
    cat > /etc/nsd/reverse <<'END'
$TTL 60
@ IN SOA ns.example.org. admin.example.org. 1 3600 600 86400 60
@ IN NS ns.example.org.
1 IN PTR www.example.org.
END
    for i in $(seq 200); do echo "many IN A 198.51.100.$i"; done >> /etc/nsd/example.org
  }
  nsd -d -c /etc/nsd/test.conf &
}
