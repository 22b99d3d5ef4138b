start() {
  [ -f /etc/test.sql ] || {
    cat > /etc/test.sql <<'END'
CREATE DATABASE shop;
CREATE TABLE shop.orders (number INT);
INSERT INTO shop.orders VALUES (1), (2), (3);
CREATE PROCEDURE shop.well() SQL SECURITY INVOKER SELECT number FROM shop.orders;
CREATE USER checker@'%' IDENTIFIED BY 'a secret';
CREATE USER nobody@'%';
CREATE USER modern@'%' IDENTIFIED VIA ed25519 USING PASSWORD('a secret');
CREATE USER closed@'%' IDENTIFIED BY 'a secret' REQUIRE SSL;
GRANT SELECT, EXECUTE ON shop.* TO checker@'%', nobody@'%', closed@'%', modern@'%';
END
    mkdir -p /run/mysqld && chown mysql /run/mysqld
  }
  mariadbd --no-defaults --user=mysql --bind-address='*' --datadir=/var/lib/mysql --init-file=/etc/test.sql \
    --innodb-use-native-aio=0 --innodb-buffer-pool-size=8M --key-buffer-size=1M --max-connect-errors=3 \
    --skip-name-resolve --plugin-load-add=auth_ed25519 --log-warnings=2 \
    --socket=/run/mysqld/mysqld.sock ${TLS---ssl-cert=/etc/ssl/test.pem --ssl-key=/etc/ssl/test.key} &
}
