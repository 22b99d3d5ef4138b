//! One file a kind, against scripted servers on loopback.

mod combined;
mod connect;
mod datagram;
mod dns;
mod external;
mod external_perl;
mod ftp;
mod http;
mod http_proxy;
mod https;
mod imap;
mod kinds;
mod late;
mod ldap;
mod mysql;
mod nntp;
mod oracle;
mod pattern;
mod pgsql;
mod ping;
mod pop;
mod radius;
mod simpletcp;
mod sip;
mod smtp;
