start() {
  [ -d /tmp/ldap ] || {
    mkdir /tmp/ldap
    cat > /etc/ldap/test.conf <<'END'
include /etc/ldap/schema/core.schema
pidfile /tmp/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile /etc/ssl/test.pem
TLSCertificateKeyFile /etc/ssl/test.key
database mdb
maxsize 16777216
suffix "dc=example,dc=org"
rootdn "cn=checker,dc=example,dc=org"
rootpw "a secret"
directory /tmp/ldap
access to dn.base="cn=hidden,dc=example,dc=org" by users read by anonymous auth
access to * by * read
END
    slapadd -f /etc/ldap/test.conf <<'END'
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=hidden,dc=example,dc=org
objectClass: organizationalRole
cn: hidden
END
  }
  slapd -d 0 -f /etc/ldap/test.conf -h 'ldap:/// ldaps:///' &
}
