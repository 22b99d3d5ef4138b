//! `pop` and `pops`.

use crate::support::dialogue::Dialogue;
use crate::support::probe::{closed, code, make, outcome, probe, target};

const LOGIN: &[(&str, &str)] = &[("login", "check"), ("passwd", "se cret")];

const GREETING: Dialogue = Dialogue {
    kind: "pop",
    options: &[],
    greeting: "+OK ready <1.2@mail.example.org>\r\n",
    turns: &[("QUIT", "+OK bye\r\n")],
    judged: 0,
};

const PLAIN: Dialogue = Dialogue {
    options: LOGIN,
    greeting: "+OK\r\n",
    turns: &[
        ("USER check", "+OK go on\r\n"),
        ("PASS se cret", "+OK in\r\n"),
        ("NOOP", "+OK\r\n"),
        ("STAT", "+OK 0 0\r\n"),
        ("QUIT", "+OK bye\r\n"),
    ],
    judged: 2,
    ..GREETING
};

/// The digest that RFC 1939 section 7 gives as an example.
const APOP: Dialogue = Dialogue {
    options: &[("login", "mrose"), ("passwd", "tanstaaf")],
    greeting: "+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\r\n",
    turns: &[
        ("APOP mrose c4c9334bac560ecc979e58001b3e22fb", "+OK maildrop has 1 message\r\n"),
        ("NOOP", "+OK\r\n"),
        ("STAT", "+OK 1 369\r\n"),
        ("QUIT", "+OK\r\n"),
    ],
    judged: 1,
    ..GREETING
};

const REFUSED: Dialogue = Dialogue {
    turns: &[
        ("APOP mrose c4c9334bac560ecc979e58001b3e22fb", "-ERR no such thing\r\n"),
        ("USER mrose", "+OK\r\n"),
        ("PASS tanstaaf", "+OK\r\n"),
        ("NOOP", "+OK\r\n"),
        ("STAT", "-ERR locked\r\n"),
        ("QUIT", "+OK\r\n"),
    ],
    judged: 3,
    ..APOP
};

fn over_tls(dialogue: Dialogue) -> Dialogue {
    Dialogue { kind: "pops", ..dialogue }
}

#[tokio::test]
async fn without_a_login_a_greeting_is_enough() {
    assert_eq!(GREETING.goes_well().await, "+OK ready <1.2@mail.example.org>");
    assert_eq!(over_tls(GREETING).goes_well().await, "+OK ready <1.2@mail.example.org>");
    assert_eq!(Dialogue { options: &[("passwd", "unused")], ..GREETING }.goes_well().await.len(), 32);
}

#[tokio::test]
async fn a_login_is_made_as_the_greeting_asks_for() {
    for dialogue in [PLAIN, APOP, REFUSED] {
        dialogue.goes_well().await;
        over_tls(dialogue).goes_well().await;
    }
    let empty = Dialogue {
        options: &[("login", "check")],
        turns: &[
            ("USER check", "+OK\r\n"),
            ("PASS ", "+OK\r\n"),
            ("NOOP", "+OK\r\n"),
            ("STAT", "+OK\r\n"),
            ("QUIT", "+OK\r\n"),
        ],
        ..PLAIN
    };
    empty.goes_well().await;
}

#[tokio::test]
async fn nothing_listening_is_down_without_a_login_too() {
    for kind in ["pop", "pops"] {
        assert_eq!(code(outcome(kind, closed().await, &[]).await), "connect-refused");
    }
}

#[tokio::test]
async fn a_refusal_is_down_and_tells_no_password() {
    for (dialogue, turn, answer, wanted) in [
        (GREETING, 0, "-ERR busy\r\n", "receive-status: greeting: -ERR busy"),
        (
            GREETING,
            0,
            "* OK imap\r\n",
            "receive-protocol: greeting: not an answer of this protocol: * OK imap",
        ),
        (GREETING, 0, "+OKAY\r\n", "receive-protocol: greeting: not an answer of this protocol: +OKAY"),
        (PLAIN, 1, "-ERR who?\r\n", "receive-status: USER: -ERR who?"),
        (PLAIN, 2, "-ERR bad command: PASS se cret\r\n", "receive-status: PASS: -ERR"),
        (PLAIN, 2, "bad command: PASS se cret\r\n", "receive-protocol: PASS: not an answer of this protocol"),
        (PLAIN, 2, "se cret\r\n", "receive-protocol: PASS: not an answer of this protocol"),
        // The server hangs up after a bad login.
        (APOP, 1, "-ERR tanstaaf\r\n", "receive-status: APOP: -ERR"),
        (APOP, 1, "tanstaaf\r\n", "receive-protocol: APOP: not an answer of this protocol"),
        (REFUSED, 2, "-ERR tanstaaf\r\n", "receive-status: USER: -ERR"),
        (REFUSED, 3, "-ERR tanstaaf\r\n", "receive-status: PASS: -ERR"),
    ] {
        assert_eq!(dialogue.answered(turn, answer).await, wanted);
        assert_eq!(over_tls(dialogue).answered(turn, answer).await, wanted);
    }
}

#[tokio::test]
async fn ill_servers_are_down_in_time() {
    tokio::join!(GREETING.survives_ill_servers(), PLAIN.survives_ill_servers(), APOP.survives_ill_servers());
}

#[tokio::test]
async fn ill_servers_are_down_in_time_over_tls() {
    over_tls(PLAIN).survives_ill_servers().await;
}

#[tokio::test]
async fn a_good_chain_is_enough_whatever_the_name() {
    over_tls(PLAIN).checks_certificates().await;
}

#[test]
fn a_login_that_is_no_part_of_a_line_is_a_fault_where_it_stands() {
    let target = target("127.0.0.1:110".parse().unwrap());
    for kind in ["pop", "pops"] {
        for (options, message) in [
            (&[("login", "a\r\nDELE 1")][..], "login must not hold a line end or NUL"),
            (&[("login", "a"), ("passwd", "\0")], "passwd must not hold a line end or NUL"),
        ] {
            let fault = make(kind, &target, options).unwrap_err();
            assert_eq!((fault.message.as_str(), fault.span.unwrap().start), (message, 100));
        }
    }
    let fault = make("pops", &target, &[("verify", "perhaps")]).unwrap_err();
    assert_eq!(fault.message, "verify must be nothing, chain or name");
}

#[test]
fn what_can_be_printed_holds_no_password() {
    let target = target("127.0.0.1:110".parse().unwrap());
    for kind in ["pop", "pops", "imap", "imaps", "ftp"] {
        let probe = probe(kind, &target, LOGIN);
        for text in [probe.identity(), format!("{probe:?}")] {
            assert!(!text.contains("se cret") && !text.contains("115, 101"), "{text}");
        }
    }
}
