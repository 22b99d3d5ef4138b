//! Each kind of check in an exchange that goes well, for a hostile server to spoil.

use std::net::SocketAddr;

use super::binary::{dns, ldap, mysql, pgsql, radius};

/// An exchange that goes well.
pub struct Case {
    /// The kind.
    pub kind: &'static str,
    /// Whether it is over UDP.
    pub udp: bool,
    /// Its options.
    pub options: &'static [(&'static str, &'static str)],
    /// Whether the server speaks first.
    pub greets: bool,
    /// From which turn on TLS is spoken, and how many bytes are read before.
    pub tls: Option<(usize, usize)>,
    /// On how many turns the verdict depends: garbage instead of one of them is never good.
    pub judged: usize,
    /// What the server says in a turn; none when all is said.
    pub says: fn(usize, &Scene<'_>) -> Option<Vec<u8>>,
}

/// What an answer is made from.
pub struct Scene<'a> {
    /// What was heard last.
    pub heard: &'a [u8],
    /// Where the server listens.
    pub at: SocketAddr,
    /// Where its data connections are.
    pub data: SocketAddr,
}

/// What `receive` wants to find.
pub const WELL: &str = "all is well";
/// What the servers are not to tell anybody.
pub const SECRET: &str = "correct horse";

const NONE: &[(&str, &str)] = &[];
const RECEIVE: &[(&str, &str)] = &[("receive", WELL)];
const LOGIN: &[(&str, &str)] = &[("login", "checker"), ("passwd", SECRET)];
const NAME: &[(&str, &str)] = &[("request", "example.org"), ("receive", "192\\.0\\.2\\.80$")];
const SQL: &[(&str, &str)] =
    &[("login", "checker"), ("passwd", SECRET), ("database", "shop"), ("request", "SELECT 1")];
const ENTRY: &[(&str, &str)] = &[("request", "dc=x"), ("login", "cn=checker"), ("passwd", SECRET)];
const FILE: &[(&str, &str)] =
    &[("login", "checker"), ("passwd", SECRET), ("request", "/x"), ("receive", WELL)];
const ACCESS: &[(&str, &str)] = &[("login", "checker"), ("passwd", SECRET), ("secret", "xyzzy")];
const PROXIED: &[(&str, &str)] = &[("request", "http://www.example.org/x"), ("receive", WELL)];
const TUNNELLED: &[(&str, &str)] = &[("request", "https://192.0.2.1/x"), ("receive", WELL)];
/// A pattern that is matched by backtracking.
const LOOKING: &[(&str, &str)] = &[("receive", "(?=all)(?:all|is|well| )+$")];

/// Kinds that talk to no server themselves.
pub const SILENT: &[&str] = &["external", "external-perl", "oracle", "on", "off"];

/// Each of the other kinds at least once. (`ping` has a file of its own.)
pub static CASES: &[Case] = &[
    plain("connect", NONE, false, 0, |_, _| None),
    plain("http", NONE, false, 1, http),
    plain("http", RECEIVE, false, 1, http),
    plain("http", LOOKING, false, 1, http),
    plain("http", RECEIVE, false, 1, astray),
    over_tls(plain("https", RECEIVE, false, 1, http), 0, 0),
    plain("http_proxy", PROXIED, false, 1, http),
    over_tls(plain("http_proxy", TUNNELLED, false, 2, tunnel), 1, 0),
    over_udp(plain("dns", NAME, false, 1, dns::datagram)),
    over_udp(plain("dns", &[("request", "example.org"), ("record", "soa")], false, 1, dns::authority)),
    plain("dns", NAME, false, 1, dns::stream),
    plain("ftp", LOGIN, true, 3, ftp),
    plain("ftp", FILE, true, 7, ftp),
    plain("imap", LOGIN, true, 2, imap),
    over_tls(plain("imaps", LOGIN, true, 2, imap), 0, 0),
    plain("ldap", ENTRY, false, 2, ldap),
    over_tls(plain("ldaps", ENTRY, false, 2, ldap), 0, 0),
    plain("mysql", SQL, true, 3, mysql::clear),
    over_tls(plain("mysql", SQL, true, 3, mysql::secure), 1, 36),
    plain("nntp", NONE, true, 1, |turn, _| lines(turn, &["200 ready\r\n", "205 bye\r\n"])),
    plain("pgsql", SQL, false, 3, pgsql::clear),
    plain("pgsql", SQL, false, 5, pgsql::scram),
    over_tls(plain("pgsql", SQL, false, 3, pgsql::secure), 1, 0),
    plain("pop", LOGIN, true, 2, pop),
    over_tls(plain("pops", LOGIN, true, 2, pop), 0, 0),
    over_udp(plain("radius", ACCESS, false, 1, radius)),
    plain("simpletcp", RECEIVE, false, 1, simple),
    plain("simpletcp", LOOKING, false, 1, simple),
    over_udp(plain("simpletcp", RECEIVE, false, 1, simple)),
    plain("sip", NONE, false, 1, sip),
    over_udp(plain("sip", NONE, false, 1, |turn, _| lines(turn, &["SIP/2.0 200 OK\r\nVia: x\r\n\r\n"]))),
    plain("smtp", NONE, true, 2, smtp),
    plain("submission", NONE, true, 2, smtp),
];

type Says = fn(usize, &Scene<'_>) -> Option<Vec<u8>>;
type Options = &'static [(&'static str, &'static str)];

const fn plain(kind: &'static str, options: Options, greets: bool, judged: usize, says: Says) -> Case {
    Case { kind, udp: false, options, greets, tls: None, judged, says }
}

const fn over_udp(case: Case) -> Case {
    Case { udp: true, ..case }
}

const fn over_tls(case: Case, from: usize, behind: usize) -> Case {
    Case { tls: Some((from, behind)), ..case }
}

fn lines(turn: usize, all: &[&str]) -> Option<Vec<u8>> {
    all.get(turn).map(|line| line.as_bytes().to_vec())
}

fn http(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                           4;a=b\r\nall \r\n7\r\nis well\r\n0\r\nEnd: x\r\n\r\n";
    lines(turn, &[CHUNKED])
}

/// Redirects, here and there but always to this server. They are not mutated, lest they lead elsewhere.
fn astray(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
    let at = scene.at;
    // As the question goes, so the answer: the same for the same exchange.
    let location = match scene.heard.len() % 5 {
        0 => format!("http://{at}/{}", "../x/".repeat(1 + scene.heard.len() % 400)),
        1 => format!("//{at}/%%%\u{1}?{}", "y".repeat(40_000)),
        2 => "?".repeat(scene.heard.len()),
        3 => format!("https://{at}/"),
        _ => "./a/../b/x".to_owned(),
    };
    (turn == 0).then(|| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n").into_bytes())
}

fn tunnel(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
    match turn {
        0 => Some(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n".to_vec()),
        _ => http(turn - 1, scene),
    }
}

fn ftp(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
    let port = scene.data.port();
    let passive = format!("227 Entering Passive Mode (127,0,0,1,{},{})\r\n", port >> 8, port & 0xff);
    let quit = scene.heard.starts_with(b"QUIT");
    let all =
        ["220-hello\r\n220 ready\r\n", "331 and?\r\n", "230 in\r\n", "250 /\r\n", "200 I\r\n", &passive];
    match turn {
        _ if quit => Some(b"221 bye\r\n".to_vec()),
        6 => Some(b"150 it comes\r\n226 done\r\n".to_vec()),
        turn => lines(turn, &all),
    }
}

fn imap(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
    let all = ["* OK ready\r\n", "* CAPABILITY IMAP4rev1\r\n0 OK in\r\n", "* BYE\r\n1 OK out\r\n"];
    lines(turn, &all)
}

fn ldap(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
    [ldap::bound, ldap::found].get(turn).map(|answer| answer())
}

fn pop(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
    lines(
        turn,
        &["+OK ready <1896.69@mail.example.org>\r\n", "+OK in\r\n", "+OK\r\n", "+OK 1 2\r\n", "+OK\r\n"],
    )
}

fn radius(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
    (turn == 0).then(|| radius::accept(scene.heard))
}

fn simple(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
    lines(turn, &["first\nsecond\nall is well\nlast\n"])
}

fn sip(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
    lines(turn, &["SIP/2.0 100 Trying\r\nVia: x\r\n\r\n\r\nSIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"])
}

fn smtp(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
    lines(turn, &["220 ready\r\n", "250-hello\r\n250 SIZE\r\n", "221 bye\r\n"])
}
