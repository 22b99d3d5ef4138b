start() {
  [ -f /etc/freeradius/test ] || {
    touch /etc/freeradius/test
    local etc=/etc/freeradius/3.0
    echo 'checker Cleartext-Password := "a secret"' > $etc/mods-config/files/authorize
    cat > $etc/clients.conf <<'END'
client four {
  ipaddr = 127.0.0.1
  secret = "a shared one"
}
client six {
  ipv6addr = ::1
  secret = "a shared one"
}
END
    # Only what such a login needs; what speaks TLS wants keys.
    rm -f $etc/sites-enabled/inner-tunnel $etc/mods-enabled/eap
    cat > $etc/sites-enabled/default <<'END'
server default {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = 1812
  }
  listen {
    type = auth
    ipv6addr = ::1
    port = 1812
  }
  authorize {
    files
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
  }
}
END
    sed -i 's/^\(\s*reject_delay =\).*/\1 0/' $etc/radiusd.conf
  }
  freeradius -f -l stdout &
}
