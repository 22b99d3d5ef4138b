//! Checks against the real servers, from Debian, each in a world of its own (tests/servers): asked
//! rightly and wrongly, frozen, going on, and stopped, over IPv4 and IPv6. Needs root.

use crate::support::world::{Drill, World, at, udp};

const TIMEOUT: &str = "receive-timeout";
const REFUSED: &str = "connect-refused";

#[test]
fn nginx_over_http_and_https() {
    let mut world = World::start("nginx");
    let good = |seen| {
        [
            (&[("request", "well"), ("receive", "^nginx is well$")][..], seen),
            (&[("request", "old"), ("receive", "is well")], seen),
            (&[("request", "well"), ("httpmethod", "HEAD")], seen),
            (&[("request", "dull")], "204 No Content"),
        ]
    };
    let bad = [
        (&[("request", "none")][..], "receive-status: 404 Not Found"),
        (&[("request", "broken")], "receive-status: 500 Internal Server Error"),
        (&[("request", "well"), ("receive", "is ill")], "match-mismatch: "),
    ];
    let http = Drill {
        kind: "http",
        at: at(80),
        good: &good("200 OK"),
        bad: &bad,
        frozen: TIMEOUT,
        stopped: REFUSED,
    };
    let by_name = [("request", "well"), ("verify", "name")];
    let bad = [&bad[..], &[(&by_name, "tls-certificate: ")]].concat();
    let named = [("request", "well"), ("verify", "name"), ("virtualhost", "servers.example.org")];
    let good = [&good("200 OK")[..], &[(&named, "200 OK")]].concat();
    let https =
        Drill { kind: "https", at: at(443), good: &good, bad: &bad, frozen: "tls-timeout", stopped: REFUSED };
    Drill::through(&[http, https], &mut world);
}

/// An account that all databases know.
const CHECKER: [(&str, &str); 3] = [("login", "checker"), ("passwd", "a secret"), ("database", "shop")];

/// Options with more of them, the later ones of a name win.
fn with(
    account: &[(&'static str, &'static str)],
    more: &[(&'static str, &'static str)],
) -> &'static [(&'static str, &'static str)] {
    Box::leak([account, more].concat().into_boxed_slice())
}

#[test]
fn mariadb_over_tls() {
    let mut world = World::start("mariadb");
    let good = [
        (with(&CHECKER, &[("request", "SELECT number FROM orders")]), "3 rows"),
        (with(&CHECKER, &[("request", "/SELECT 1")]), "1 row"),
        (with(&CHECKER, &[("request", "CALL well()")]), "3 rows"),
        (with(&CHECKER, &[("request", "SELECT 1"), ("login", "closed")]), "1 row"),
        (with(&CHECKER, &[("request", "SELECT 1"), ("login", "nobody"), ("passwd", "")]), "1 row"),
        (with(&CHECKER, &[("request", "SELECT * FROM shop.orders"), ("database", "")]), "3 rows"),
        (with(&CHECKER, &[("request", "SELECT 1"), ("verify", "chain")]), "1 row"),
        (
            with(
                &CHECKER,
                &[("request", "SELECT 1"), ("verify", "name"), ("virtualhost", "servers.example.org")],
            ),
            "1 row",
        ),
        (with(&CHECKER, &[("request", "SELECT repeat('x', 100000) FROM seq_1_to_1000")]), "10 rows and more"),
    ];
    let bad = [
        (
            with(&CHECKER, &[("request", "SELECT * FROM orders WHERE number > 3")]),
            "match-mismatch: …without a row",
        ),
        (with(&CHECKER, &[("request", "DO 1")]), "match-mismatch: …without a row"),
        (
            with(&CHECKER, &[("request", "SELECT * FROM nowhere")]),
            "receive-status: …error 1146 (42S02): …nowhere",
        ),
        (
            with(&CHECKER, &[("request", "SELECT 1"), ("passwd", "wrong")]),
            "receive-status: …error 1045 (28000): ",
        ),
        (with(&CHECKER, &[("request", "SELECT 1"), ("passwd", "")]), "receive-status: …error 1045 (28000): "),
        (with(&CHECKER, &[("request", "SELECT 1"), ("database", "other")]), "receive-status: …error 104"),
        (
            with(&CHECKER, &[("request", "SELECT 1"), ("login", "modern")]),
            "receive-protocol: …client_ed25519",
        ),
        (with(&CHECKER, &[("request", "SELECT 1"), ("verify", "name")]), "tls-certificate: "),
        (with(&CHECKER, &[]), "Must specify a login and request"),
    ];
    let drill =
        Drill { kind: "mysql", at: at(3306), good: &good, bad: &bad, frozen: TIMEOUT, stopped: REFUSED };
    Drill::through(&[drill], &mut world);
}

#[test]
fn mariadb_in_the_clear() {
    let world = World::start("mariadb-clear");
    let ask = ("request", "SELECT 1");
    let good = [(with(&CHECKER, &[ask]), "1 row")];
    let wrong = with(&CHECKER, &[ask, ("passwd", "wrong")]);
    let bad = [
        (wrong, "receive-status: …error 1045"),
        (with(&CHECKER, &[ask, ("verify", "chain")]), "tls-protocol: …offers no TLS"),
        (with(&CHECKER, &[ask, ("login", "modern")]), "receive-protocol: …client_ed25519"),
    ];
    let drill =
        Drill { kind: "mysql", at: at(3306), good: &good, bad: &bad, frozen: TIMEOUT, stopped: REFUSED };
    // The server blocks a host after three handshakes without an end: so many times, all is still well.
    for _ in 0..3 {
        drill.serving(&world);
    }
}

#[test]
fn postgresql_with_and_without_tls() {
    let mut world = World::start("postgresql");
    let ask = ("request", "SELECT number FROM orders");
    let by = |login| with(&CHECKER, &[ask, ("login", login)]);
    let good = [
        (by("checker"), "3 rows"),
        (by("open"), "3 rows"),
        (by("plain"), "3 rows"),
        (by("old"), "3 rows"),
        (by("sealed"), "3 rows"),
        (by("bare"), "3 rows"),
        (with(&CHECKER, &[("request", "/SELECT 1; SELECT 2")]), "2 rows"),
        (with(&CHECKER, &[("request", "SELECT 1"), ("verify", "chain")]), "1 row"),
        (
            with(
                &CHECKER,
                &[("request", "SELECT 1"), ("verify", "name"), ("virtualhost", "servers.example.org")],
            ),
            "1 row",
        ),
        (
            with(&CHECKER, &[("request", "SELECT repeat('x', 100000) FROM generate_series(1, 1000)")]),
            "10 rows and more",
        ),
    ];
    let no = |login| with(&CHECKER, &[ask, ("login", login), ("passwd", "wrong")]);
    let bad = [
        (with(&CHECKER, &[("request", "SELECT 1 WHERE false")]), "match-mismatch: …without a row"),
        (with(&CHECKER, &[("request", ";")]), "match-mismatch: …without a row"),
        (with(&CHECKER, &[("request", "COPY orders FROM STDIN")]), "receive-status: …ERROR "),
        (with(&CHECKER, &[("request", "COPY orders TO STDOUT")]), "match-mismatch: …without a row"),
        (with(&CHECKER, &[("request", "SELECT 1/0")]), "receive-status: …ERROR 22012: division by zero"),
        (
            with(&CHECKER, &[("request", "SELECT 1; SELECT 1/0")]),
            "receive-status: …ERROR 22012: division by zero",
        ),
        (with(&CHECKER, &[ask, ("database", "")]), "receive-status: …FATAL 3D000: …\"checker\""),
        (no("checker"), "receive-status: …FATAL 28P01: password authentication failed"),
        (no("plain"), "receive-status: …FATAL 28P01: password authentication failed"),
        (no("old"), "receive-status: …FATAL 28P01: password authentication failed"),
        (by("nobody"), "receive-status: …FATAL 28000: no pg_hba.conf entry"),
        (with(&CHECKER, &[ask, ("login", "bare"), ("verify", "chain")]), "receive-status: …FATAL 28000: "),
        (with(&CHECKER, &[ask, ("verify", "name")]), "tls-certificate: "),
        (with(&CHECKER, &[]), "Must specify a login and request"),
    ];
    let drill =
        Drill { kind: "pgsql", at: at(5432), good: &good, bad: &bad, frozen: TIMEOUT, stopped: REFUSED };
    Drill::through(&[drill], &mut world);
}

#[test]
fn dovecot_over_imap_and_pop_with_and_without_tls() {
    let mut world = World::start("dovecot");
    let account = with(&CHECKER[..2], &[]);
    let wrong = with(account, &[("passwd", "wrong")]);
    let named = with(account, &[("verify", "name"), ("virtualhost", "servers.example.org")]);
    let by_address = with(account, &[("verify", "name")]);
    let drill = |kind, port, seen, no| {
        let tls = kind == "imaps" || kind == "pops";
        let mut good = vec![(account, seen), (&[][..], seen)];
        let mut bad = vec![(wrong, no)];
        if tls {
            good.push((named, seen));
            bad.push((by_address, "tls-certificate: "));
        }
        let frozen = if tls { "tls-timeout" } else { TIMEOUT };
        Drill { kind, at: at(port), good: good.leak(), bad: bad.leak(), frozen, stopped: REFUSED }
    };
    let drills = [
        drill("imap", 143, "* OK …ready", "receive-status: LOGIN: …NO"),
        drill("imaps", 993, "* OK …ready", "receive-status: LOGIN: …NO"),
        drill("pop", 110, "+OK …ready", "receive-status: PASS: -ERR"),
        drill("pops", 995, "+OK …ready", "receive-status: PASS: -ERR"),
    ];
    Drill::through(&drills, &mut world);
}

#[test]
fn postfix_over_smtp_and_submission() {
    let mut world = World::start("postfix");
    let good = [(&[][..], "220 servers.example.org ESMTP")];
    let drill =
        |kind, port| Drill { kind, at: at(port), good: &good, bad: &[], frozen: TIMEOUT, stopped: REFUSED };
    let drills = [drill("smtp", 25), drill("submission", 587)];
    for drill in &drills {
        drill.unwilling(&world, &at(2525), "receive-status: greeting: 554 …Client host rejected");
    }
    Drill::through(&drills, &mut world);
}

#[test]
fn vsftpd_passive_and_active() {
    let mut world = World::start("vsftpd");
    let account = with(&CHECKER[..2], &[("request", "well"), ("receive", "^vsftpd is well$")]);
    let file = with(account, &[("request", "/home/checker/well")]);
    let good = [
        (&[][..], "220 …"),
        (with(&CHECKER[..2], &[]), "220 …"),
        (&[("request", "well"), ("receive", "is well")][..], "220 …"),
        (file, "220 …"),
    ];
    let bad = [
        (with(file, &[("receive", "is ill")]), "match-mismatch: "),
        (with(file, &[("request", "nothing")]), "receive-status: RETR: 550"),
        (with(file, &[("passwd", "wrong")]), "receive-status: PASS: 530"),
        (with(file, &[("login", "nobody")]), "receive-status: PASS: 530"),
    ];
    let drill = |at| Drill { kind: "ftp", at, good: &good, bad: &bad, frozen: TIMEOUT, stopped: REFUSED };
    Drill::through(&[drill(at(21)), drill(vec![at(2121)[0]])], &mut world);
}

#[test]
fn inn2_over_nntp() {
    let mut world = World::start("inn2");
    let good = [(&[][..], "200 …InterNetNews")];
    let drill = Drill { kind: "nntp", at: at(119), good: &good, bad: &[], frozen: TIMEOUT, stopped: REFUSED };
    drill.unwilling(&world, &at(1119), "receive-status: greeting: 502 ");
    Drill::through(&[drill], &mut world);
}

#[test]
fn kamailio_over_udp_and_tcp() {
    let mut world = World::start("kamailio");
    let good = [
        (&[("login", "checker@servers.example.org")][..], "SIP/2.0 200 OK"),
        (&[("login", "slow@servers.example.org")], "SIP/2.0 200 OK"),
    ];
    let bad = [(&[("login", "nobody@servers.example.org")][..], "receive-status: OPTIONS: SIP/2.0 404")];
    let drill = |at, stopped| Drill { kind: "sip", at, good: &good, bad: &bad, frozen: TIMEOUT, stopped };
    Drill::through(&[drill(udp(5060), "receive-refused"), drill(at(5060), REFUSED)], &mut world);
}

#[test]
fn redis_over_simpletcp() {
    let mut world = World::start("redis");
    let good = [
        (&[("request", "/AUTH a-secret\\nPING\\n"), ("receive", "^.PONG")][..], "line 2 matches"),
        (&[("request", "PING\\n"), ("receive", "NOAUTH")], "line 1 matches"),
        (&[], "0 bytes sent"),
    ];
    let bad = [
        (
            &[("request", "AUTH a-secret\\nPING\\n"), ("receive", "PANG")][..],
            "match-mismatch: none of 2 lines",
        ),
        (&[("request", "AUTH wrong\\nPING\\n"), ("receive", "^.PONG")], "match-mismatch: none of 2 lines"),
    ];
    let drill =
        Drill { kind: "simpletcp", at: at(6379), good: &good, bad: &bad, frozen: TIMEOUT, stopped: REFUSED };
    Drill::through(&[drill], &mut world);
}

#[test]
fn squid_over_http_proxy() {
    let mut world = World::start("squid");
    let url = "http://servers.example.org/well";
    let good = [
        (&[("request", url), ("receive", "^origin is well$")][..], "200 OK"),
        (&[("request", url), ("httpmethod", "HEAD")], "200 OK"),
    ];
    let bad = [
        (&[("request", url), ("receive", "is ill")][..], "match-mismatch: "),
        (&[("request", "http://servers.example.org/none")], "receive-status: 404"),
        (&[("request", "http://servers.example.org/closed")], "receive-status: 403"),
    ];
    let drill =
        Drill { kind: "http_proxy", at: at(3128), good: &good, bad: &bad, frozen: TIMEOUT, stopped: REFUSED };
    Drill::through(&[drill], &mut world);
}

#[test]
fn slapd_with_and_without_tls() {
    let mut world = World::start("slapd");
    let account = [("login", "cn=checker,dc=example,dc=org"), ("passwd", "a secret")];
    let base = ("request", "dc=example,dc=org");
    let hidden = ("request", "/cn=hidden,dc=example,dc=org");
    let good = [
        (with(&account, &[base]), ""),
        (with(&account, &[base, ("receive", "^dc=example")]), ""),
        (with(&account, &[hidden, ("receive", "hidden")]), ""),
        (&[base][..], ""),
    ];
    let bad = [
        (with(&account, &[base, ("receive", "dc=other")]), "match-mismatch: "),
        (with(&account, &[base, ("passwd", "wrong")]), "receive-status: …49"),
        (with(&account, &[("request", "dc=nowhere")]), "receive-status: …32"),
        (&[hidden][..], "receive-"),
    ];
    let ldap = Drill { kind: "ldap", at: at(389), good: &good, bad: &bad, frozen: TIMEOUT, stopped: REFUSED };
    let chain = with(&account, &[base, ("verify", "chain")]);
    let good = [&good[..], &[(chain, "")]].concat();
    let bad = [&bad[..], &[(with(&account, &[base, ("verify", "name")]), "tls-certificate: ")]].concat();
    let ldaps =
        Drill { kind: "ldaps", at: at(636), good: &good, bad: &bad, frozen: "tls-timeout", stopped: REFUSED };
    Drill::through(&[ldap, ldaps], &mut world);
}

#[test]
fn nsd_over_udp_and_tcp() {
    let mut world = World::start("nsd");
    let good = [
        (&[("request", "/www.example.org"), ("receive", "^192\\.0\\.2\\.2$")][..], ""),
        (&[("request", "www.example.org")], ""),
        (&[("request", "alias.example.org"), ("receive", "192.0.2.1")], ""),
        (&[("request", "192.0.2.1"), ("receive", "www.example.org")], ""),
        (&[("request", "www.example.org"), ("record", "aaaa"), ("receive", "2001:db8::1")], ""),
        (&[("request", "mail.example.org"), ("record", "mx"), ("receive", "www")], ""),
        // Too long for a datagram: asked again over TCP.
        (&[("request", "many.example.org"), ("receive", "198.51.100.200")], ""),
    ];
    let bad = [
        (&[("request", "www.example.org"), ("receive", "192.0.2.9")][..], "match-mismatch: "),
        (&[("request", "nobody.example.org")], "receive-status: …NXDOMAIN"),
        (&[("request", "www.example.net")], "receive-status: …REFUSED"),
    ];
    let drill = |at, stopped| Drill { kind: "dns", at, good: &good, bad: &bad, frozen: TIMEOUT, stopped };
    Drill::through(&[drill(udp(53), "receive-refused"), drill(at(53), REFUSED)], &mut world);
}

#[test]
fn freeradius_over_radius() {
    let mut world = World::start("freeradius");
    let account = [("login", "checker"), ("passwd", "a secret"), ("secret", "a shared one")];
    let good = [(with(&account, &[]), "")];
    let bad = [
        (with(&account, &[("passwd", "wrong")]), "receive-status: …Access-Reject"),
        (with(&account, &[("login", "nobody")]), "receive-status: …Access-Reject"),
        // A request that is signed with another secret is not answered.
        (with(&account, &[("secret", "another")]), TIMEOUT),
    ];
    let drill = Drill {
        kind: "radius",
        at: udp(1812),
        good: &good,
        bad: &bad,
        frozen: TIMEOUT,
        stopped: "receive-refused",
    };
    Drill::through(&[drill], &mut world);
}
