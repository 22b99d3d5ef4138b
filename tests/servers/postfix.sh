start() {
  [ -f /etc/postfix/test ] || {
    touch /etc/postfix/test
    postconf -e myhostname=servers.example.org inet_interfaces=all inet_protocols=all \
      maillog_file=/dev/stdout compatibility_level=3.6 smtpd_delay_open_until_valid_rcpt=yes
    postconf -M submission/inet='submission inet n - n - - smtpd'
    # One that lets nobody in.
    postconf -M 2525/inet='2525 inet n - n - - smtpd -o smtpd_delay_reject=no -o smtpd_client_restrictions=reject'
    postconf -F '*/*/chroot=n'
    rm -f /var/spool/postfix/pid/*
  }
  postfix start-fg &
}
