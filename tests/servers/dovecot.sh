start() {
  [ -f /etc/dovecot/test.conf ] || {
    echo 'checker:{PLAIN}a secret:65534:65534::/tmp::' > /etc/dovecot/users
    chmod 644 /etc/dovecot/users
    cat > /etc/dovecot/test.conf <<'END'
protocols = imap pop3
listen = *, ::
log_path = /dev/stderr
ssl = yes
ssl_cert = </etc/ssl/test.pem
ssl_key = </etc/ssl/test.key
disable_plaintext_auth = no
# Digests are offered too: a check logs in with APOP where the greeting has a timestamp.
auth_mechanisms = plain apop
auth_failure_delay = 0
# A wrong password makes nobody wait.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
mail_location = mbox:/tmp/mail
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = scheme=PLAIN /etc/dovecot/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/tmp
}
END
  }
  dovecot -F -c /etc/dovecot/test.conf &
}
