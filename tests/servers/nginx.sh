start() {
  [ -f /etc/nginx/test.conf ] || {
    echo "nginx is well" > /var/www/html/well
    cat > /etc/nginx/test.conf <<'END'
user www-data;
daemon off;
error_log stderr;
events {}
http {
  access_log off;
  server {
    listen 80;
    listen [::]:80;
    listen 443 ssl;
    listen [::]:443 ssl;
    ssl_certificate /etc/ssl/test.pem;
    ssl_certificate_key /etc/ssl/test.key;
    root /var/www/html;
    location /old { return 302 /well; }
    location /broken { return 500; }
    location /dull { gzip on; return 204; }
  }
}
END
  }
  nginx -c /etc/nginx/test.conf &
}
