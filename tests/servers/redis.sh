start() {
  cd /tmp || return
  redis-server --bind 127.0.0.1 ::1 --save '' --requirepass 'a-secret' &
}
