//! `mysql`.

use lvsentry::probe::mysql::packet::{self, Answer, Greeting, PLUGIN_AUTH, PROTOCOL_41, Rows, SSL};
use lvsentry::probe::mysql::packet::{CONNECT_WITH_DB, MULTI_RESULTS, SECURE_CONNECTION};
use lvsentry::probe::mysql::proof;
use lvsentry::probe::sql::INCOMPLETE;
use proptest::prelude::*;
use std::time::Duration;

use crate::support::probe::{SHORT, code, outcome, outcome_within, probe, target};
use crate::support::server::{Act, Server};
use crate::support::turns::{Turn, Turns};

const ALL: u32 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH | CONNECT_WITH_DB | MULTI_RESULTS | SSL | 1;
const NONCE: &[u8] = b"abcdefghijklmnopqrst";
const OPTIONS: [(&str, &str); 4] =
    [("login", "checker"), ("passwd", "a secret"), ("database", "shop"), ("request", "/SELECT 1")];

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    [&[a, b, c, number], payload].concat()
}

fn greeting(capabilities: u32, plugin: &str) -> Vec<u8> {
    let [a, b, c, d] = capabilities.to_le_bytes();
    let parts: [&[u8]; 9] = [
        b"\x0a8.0.1\0\x01\0\0\0",
        &NONCE[..8],
        &[0, a, b, 33, 2, 0, c, d, 21],
        &[0; 10],
        &NONCE[8..],
        b"\0",
        plugin.as_bytes(),
        b"\0",
        b"",
    ];
    packet(0, &parts.concat())
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END: &[u8] = &[0xfe, 0, 0, 2, 0];

fn denied(number: u8) -> Vec<u8> {
    packet(number, b"\xff\x15\x04#28000Access denied for user 'checker' (a secret)")
}

/// The answer to a query, with so many rows.
fn rows(count: u8) -> Vec<u8> {
    let mut parts = vec![packet(1, &[1]), packet(2, b"\x03def\0\0\0"), packet(3, END)];
    parts.extend((0..count).map(|i| packet(4 + i, b"\x011")));
    parts.push(packet(4 + count, END));
    parts.concat()
}

/// A server without TLS that sends all of it, whatever comes.
async fn clear(parts: &[Vec<u8>]) -> Turns {
    Turns::start(vec![Turn { then: parts.concat(), ..Turn::default() }]).await
}

/// The same over TLS, after a greeting.
async fn over_tls(greeting: Vec<u8>, parts: &[Vec<u8>]) -> Turns {
    Turns::start(vec![Turn { first: greeting, ask: 36, tls: true, then: parts.concat(), ..Turn::default() }])
        .await
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";

#[tokio::test]
async fn a_row_is_good_and_the_server_is_left_in_order() {
    let server = clear(&[greeting(ALL & !SSL, NATIVE), packet(2, OK), rows(1)]).await;
    assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "1 row");
    wait(&server).await;
    let said = &server.heard()[0];
    assert!(contains(said, &[b"checker\0\x14", &proof::native(b"a secret", NONCE)[..], b"shop\0"].concat()));
    assert!(contains(said, &packet(0, b"\x03SELECT 1")), "the leading slash is not sent");
    assert!(said.ends_with(&packet(0, b"\x01")), "COM_QUIT comes last");
    assert!(!contains(said, b"a secret"));
}

/// Until the first connection is over.
async fn wait(server: &Turns) {
    while server.heard().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn ipv6_too() {
    let then = [greeting(ALL & !SSL, NATIVE), packet(2, OK), rows(2)].concat();
    let server = Turns::listening("[::1]:0", vec![Turn { then, ..Turn::default() }]).await;
    assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "2 rows");
}

#[tokio::test]
async fn no_row_is_bad() {
    for answer in [rows(0), packet(1, OK)] {
        let server = clear(&[greeting(ALL & !SSL, NATIVE), packet(2, OK), answer]).await;
        let failure = outcome("mysql", server.at, &OPTIONS).await.unwrap_err();
        let detail = format!("match-mismatch: {}: the request was answered without a row", server.at);
        assert_eq!(failure.to_string(), detail);
    }
}

#[tokio::test]
async fn rows_of_a_later_result_count() {
    let call = [0, 0, 0, 2 | 8, 0, 0, 0];
    let server = clear(&[greeting(ALL & !SSL, NATIVE), packet(2, OK), packet(1, &call), rows(3)]).await;
    assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "3 rows");
}

#[tokio::test]
async fn without_login_or_request_nobody_is_asked() {
    let server = clear(&[]).await;
    for left_out in ["login", "request"] {
        let options: Vec<_> = OPTIONS.into_iter().filter(|(name, _)| *name != left_out).collect();
        let failure = outcome("mysql", server.at, &options).await.unwrap_err();
        assert_eq!(failure.to_string(), format!("send-other: {INCOMPLETE}"));
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn what_the_server_refuses_is_told_without_the_password() {
    let server = clear(&[greeting(ALL & !SSL, NATIVE), denied(2)]).await;
    let failure = outcome("mysql", server.at, &OPTIONS).await.unwrap_err().to_string();
    let wanted =
        format!("receive-status: {}: error 1045 (28000): Access denied for user 'checker' (***)", server.at);
    assert_eq!(failure, wanted);

    let server = clear(&[packet(0, b"\xff\x69\x04Host 'x' is blocked")]).await;
    let failure = outcome("mysql", server.at, &OPTIONS).await.unwrap_err().to_string();
    assert_eq!(failure, format!("receive-status: {}: error 1129: Host 'x' is blocked", server.at));

    let server = clear(&[greeting(ALL & !SSL, NATIVE), packet(2, OK), denied(1)]).await;
    assert_eq!(code(outcome("mysql", server.at, &OPTIONS).await), "receive-status");
    wait(&server).await;
    assert!(server.heard()[0].ends_with(&packet(0, b"\x01")), "COM_QUIT comes last");
}

#[tokio::test]
async fn the_quick_way_of_mysql_8() {
    let server = clear(&[greeting(ALL & !SSL, SHA2), packet(2, b"\x01\x03"), packet(3, OK), rows(1)]).await;
    assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "1 row");
    wait(&server).await;
    assert!(contains(&server.heard()[0], &[b"\x20", &proof::sha2(b"a secret", NONCE)[..]].concat()));
}

#[tokio::test]
async fn the_whole_password_goes_over_tls_only() {
    let full = [packet(3, b"\x01\x04"), packet(5, OK), rows(1)];
    let server = over_tls(greeting(ALL, SHA2), &full).await;
    assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "1 row");
    wait(&server).await;
    assert!(contains(&server.heard()[0], &packet(4, b"a secret\0")));

    let full = [greeting(ALL & !SSL, SHA2), packet(2, b"\x01\x04"), denied(4)];
    let server = clear(&full).await;
    let failure = outcome("mysql", server.at, &OPTIONS).await.unwrap_err().to_string();
    assert!(failure.starts_with("receive-protocol: ") && failure.contains("over TLS only"), "{failure}");
    wait(&server).await;
    assert!(!contains(&server.heard()[0], b"a secret"));
    // The handshake came to its end all the same.
    assert!(server.heard()[0].ends_with(&packet(3, b"")));
}

fn switch(number: u8, plugin: &str) -> Vec<u8> {
    packet(number, &[b"\xfe", plugin.as_bytes(), b"\0ABCDEFGHIJKLMNOPQRST\0"].concat())
}

#[tokio::test]
async fn the_server_may_ask_for_another_way() {
    let other = b"ABCDEFGHIJKLMNOPQRST";
    for (from, to, proof) in [
        (SHA2, NATIVE, proof::native(b"a secret", other)),
        (NATIVE, SHA2, proof::sha2(b"a secret", other)),
        ("unheard_of", NATIVE, proof::native(b"a secret", other)),
    ] {
        let server = clear(&[greeting(ALL & !SSL, from), switch(2, to), packet(4, OK), rows(1)]).await;
        assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "1 row", "{from} to {to}");
        wait(&server).await;
        assert!(contains(&server.heard()[0], &packet(3, &proof)), "{from} to {to}");
    }
}

#[tokio::test]
async fn a_password_in_the_clear_goes_over_tls_only() {
    let clear_text = "mysql_clear_password";
    let server = over_tls(greeting(ALL, NATIVE), &[switch(3, clear_text), packet(5, OK), rows(1)]).await;
    assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "1 row");
    for plugin in [NATIVE, clear_text] {
        let server = clear(&[greeting(ALL & !SSL, plugin), switch(2, clear_text), denied(4)]).await;
        let failure = outcome("mysql", server.at, &OPTIONS).await.unwrap_err().to_string();
        assert!(failure.contains("over TLS only"), "{failure}");
        wait(&server).await;
        assert!(!contains(&server.heard()[0], b"a secret"));
    }
}

#[tokio::test]
async fn a_way_that_is_not_known_is_named_and_refused_in_order() {
    let asked = [switch(2, "dialog"), switch(2, "")];
    for switch in asked {
        let server = clear(&[greeting(ALL & !SSL, NATIVE), switch, denied(4)]).await;
        let failure = outcome("mysql", server.at, &OPTIONS).await.unwrap_err().to_string();
        assert!(failure.contains("is not known here"), "{failure}");
        wait(&server).await;
        assert!(server.heard()[0].ends_with(&packet(3, b"")));
    }
}

#[tokio::test]
async fn tls_of_an_old_age_is_done_without_unless_it_is_asked_for() {
    let old = Turn { first: greeting(ALL, NATIVE), ask: 36, answer: b"no TLS".to_vec(), ..Turn::default() };
    let then = [greeting(ALL, NATIVE), packet(2, OK), rows(1)].concat();
    let turns = vec![old, Turn { then, ..Turn::default() }];
    let server = Turns::start(turns.clone()).await;
    assert_eq!(outcome("mysql", server.at, &OPTIONS).await.unwrap(), "1 row");
    let server = Turns::start(turns).await;
    let options = [&OPTIONS[..], &[("verify", "chain")]].concat();
    assert_eq!(code(outcome("mysql", server.at, &options).await), "tls-protocol");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_a_certificate_is_asked_for() {
    let server = clear(&[greeting(ALL & !SSL, NATIVE), denied(2)]).await;
    let options = [&OPTIONS[..], &[("verify", "chain")]].concat();
    let failure = outcome("mysql", server.at, &options).await.unwrap_err().to_string();
    assert!(failure.starts_with("tls-protocol: ") && failure.contains("offers no TLS"), "{failure}");
    wait(&server).await;
    assert!(!contains(&server.heard()[0], b"checker"), "nothing of the login is sent");
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let hello = greeting(ALL & !SSL, NATIVE);
    let flood = |payload: &[u8]| Act::Flood(packet(1, payload), 4 << 20);
    for (script, wanted) in [
        (vec![Act::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(9))], "receive-too-large"),
        (vec![Act::Send(packet(0, b"\x09old\0")), Act::Hold], "receive-protocol"),
        (vec![Act::Send(packet(0, b"")), Act::Hold], "receive-protocol"),
        (vec![Act::Send(greeting(0, "")), Act::Hold], "receive-protocol"),
        (vec![Act::Send(hello[..20].to_vec())], "receive-closed"),
        (vec![], "receive-closed"),
        (vec![Act::Hold], "receive-timeout"),
        (vec![Act::Drip(hello.clone(), Duration::from_millis(20))], "receive-timeout"),
        (vec![Act::Send(hello.clone()), Act::Hold], "receive-timeout"),
        (vec![Act::Send(hello.clone()), Act::Send(packet(2, b"\x42")), Act::Hold], "receive-protocol"),
        (vec![Act::Send(hello.clone()), flood(b"\x01more"), Act::Hold], "receive-protocol"),
        // The server wants a file of ours.
        (
            vec![Act::Send([&hello[..], &packet(2, OK), &packet(1, b"\xfb/etc/passwd")].concat()), Act::Hold],
            "receive-protocol",
        ),
        // Columns without end, and a length that nothing follows.
        (
            vec![Act::Send([&hello[..], &packet(2, OK)].concat()), flood(&[3; 1000]), Act::Hold],
            "receive-too-large",
        ),
        (
            vec![Act::Send([&hello[..], &packet(2, OK), b"\xff\xff\xff\x01"].concat()), Act::Hold],
            "receive-too-large",
        ),
    ] {
        let server = Server::start(script.clone()).await;
        let answer = outcome_within(SHORT, "mysql", server.at, &OPTIONS).await;
        assert_eq!(code(answer), wanted, "{:?}", script.first());
    }
}

#[tokio::test]
async fn rows_without_end_are_rows() {
    let start = [greeting(ALL & !SSL, NATIVE), packet(2, OK), packet(1, &[1]), packet(2, END)].concat();
    let row = packet(3, &[b'x'; 1000]);
    let server = Server::start(vec![Act::Send(start), Act::Flood(row, 1 << 30)]).await;
    let said = outcome("mysql", server.at, &OPTIONS).await.unwrap();
    assert!(said.ends_with(" rows and more"), "{said}");
}

#[test]
fn the_proofs_are_those_of_the_servers() {
    // Made with Python's hashlib from the definitions.
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(proof::native(b"a secret", NONCE)), "2894c0b4d5a399a5a1743010acf7ff50db81e1a4");
    assert_eq!(
        hex(proof::sha2(b"a secret", NONCE)),
        "e8d920905778a3d150088536fd14219aeb79d94b388833134d5f6b8204ce0c3e"
    );
}

#[test]
fn identities_hold_all_options_but_neither_they_nor_debug_the_password() {
    let target = target("127.0.0.1:1".parse().unwrap());
    let probe = probe("mysql", &target, &OPTIONS);
    assert!(!format!("{probe:?}").contains("secret"));
    for (name, text) in OPTIONS {
        let told = probe.identity().contains(text.trim_start_matches('/'));
        assert_eq!(told, name != "passwd", "{name}: {}", probe.identity());
    }
}

#[test]
fn as_much_of_a_servers_words_is_read_as_can_be_shown() {
    let said = packet::error(&[b"\xff\x15\x04", &[0xff; 1 << 20][..]].concat()).unwrap();
    assert!(said.len() < 64 * 1024, "{} bytes", said.len());
}

#[tokio::test]
async fn a_password_that_is_too_short_to_be_hidden_hides_all_words() {
    let refusal = packet(2, b"\xff\x15\x04#28000no to checker with pw");
    let server = clear(&[greeting(ALL & !SSL, NATIVE), refusal]).await;
    let options = [("login", "checker"), ("passwd", "pw"), ("request", "SELECT 1")];
    let failure = outcome("mysql", server.at, &options).await.unwrap_err();
    assert_eq!(failure.detail, format!("{}: error 1045 (28000)", server.at));
}

proptest! {
    #[test]
    fn no_packet_is_too_odd(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), first: u8) {
        let _ = Greeting::read(&bytes);
        let _ = Answer::read(&bytes);
        let _ = packet::error(&bytes);
        let mut rows = Rows::default();
        for _ in 0..4 {
            let _ = rows.take(&bytes);
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
        }
    }

    #[test]
    fn a_greeting_cut_short_is_none_and_one_changed_does_no_harm(cut in 0usize..100, at in 0usize..100, byte: u8) {
        let mut whole = greeting(ALL, NATIVE)[4..].to_vec();
        prop_assert_eq!(&Greeting::read(&whole).unwrap().nonce[..], NONCE);
        let cut = cut.min(40);
        prop_assert!(Greeting::read(&whole[..cut]).is_none());
        let at = at % whole.len();
        whole[at] = byte;
        let _ = Greeting::read(&whole);
    }
}
