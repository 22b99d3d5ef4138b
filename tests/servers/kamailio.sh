start() {
  [ -f /etc/kamailio/test.cfg ] || cat > /etc/kamailio/test.cfg <<'END'
#!KAMAILIO
debug=1
log_stderror=yes
children=2
tcp_children=2
listen=udp:127.0.0.1:5060
listen=tcp:127.0.0.1:5060
listen=udp:[::1]:5060
listen=tcp:[::1]:5060
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
request_route {
  if ($rU == "nobody") {
    sl_send_reply("404", "Not Found");
    exit;
  }
  if ($rU == "slow") {
    sl_send_reply("100", "Trying");
  }
  sl_send_reply("200", "OK");
}
END
  kamailio -DD -E -m 16 -M 4 -f /etc/kamailio/test.cfg -u kamailio -g kamailio &
}
