start() {
  mkdir -p /run/news && chown news:news /run/news
  setpriv --reuid=news --regid=news --init-groups env PATH=/usr/lib/news/bin:$PATH /usr/lib/news/bin/rc.news &
}
