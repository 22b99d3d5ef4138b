TLS= # none
. /scripts/mariadb.sh
