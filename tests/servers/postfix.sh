start() {
  [ -f /etc/postfix/test ] || {
    touch /etc/postfix/test
    postconf -e myhostname=servers.example.org inet_interfaces=all inet_protocols=all \
      maillog_file=/dev/stdout compatibility_level=3.6 smtpd_delay_open_until_valid_rcpt=yes
    postconf -M submission/inet='submission inet n - n - - smtpd'
    postconf -F '*/*/chroot=n'
    rm -f /var/spool/postfix/pid/*
  }
  postfix start-fg &
}
