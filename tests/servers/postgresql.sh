start() {
  local version etc at # server: for run
  version=$(ls /etc/postgresql)
  etc=/etc/postgresql/$version/main at=/var/lib/postgresql/$version/main
  server=/usr/lib/postgresql/$version/bin/postgres
  [ -f /etc/test.key ] || {
    install -o postgres -m 600 /etc/ssl/test.key /etc/test.key
    cat > $etc/pg_hba.conf <<'END'
local all postgres trust
host all open all trust
host all plain all password
host all old all md5
host all checker all scram-sha-256
hostssl all sealed all scram-sha-256
hostnossl all bare all scram-sha-256
END
    cat > $etc/postgresql.conf <<END
data_directory = '$at'
hba_file = '$etc/pg_hba.conf'
listen_addresses = '*'
unix_socket_directories = '/run/postgresql'
ssl = on
ssl_cert_file = '/etc/ssl/test.pem'
ssl_key_file = '/etc/test.key'
shared_buffers = 8MB
fsync = off
END
    mkdir -p /run/postgresql && chown postgres /run/postgresql
    cat > /etc/test.sql <<'END'
CREATE DATABASE shop;
CREATE USER open;
CREATE USER plain PASSWORD 'a secret';
CREATE USER checker PASSWORD 'a secret';
CREATE USER sealed PASSWORD 'a secret';
CREATE USER bare PASSWORD 'a secret';
SET password_encryption = md5;
CREATE USER old PASSWORD 'a secret';
\c shop
CREATE TABLE orders AS SELECT generate_series(1, 3) AS number;
GRANT SELECT ON orders TO PUBLIC;
END
    sed -e '/^\\c/,$d' -e 's/;$/;\n/' /etc/test.sql | run --single -j -D $at -c config_file=$etc/postgresql.conf postgres
    sed -e '1,/^\\c/d' -e 's/;$/;\n/' /etc/test.sql | run --single -j -D $at -c config_file=$etc/postgresql.conf shop
  }
  run -D $at -c config_file=$etc/postgresql.conf &
}

run() {
  setpriv --reuid=postgres --regid=postgres --init-groups $server "$@"
}
