//! `imap` and `imaps`.

use crate::support::dialogue::Dialogue;
use crate::support::probe::{closed, code, make, outcome, target};

const GREETING: Dialogue = Dialogue {
    kind: "imap",
    options: &[],
    greeting: "* OK [CAPABILITY IMAP4rev1] ready\r\n",
    turns: &[("1 LOGOUT", "* BYE\r\n1 OK\r\n")],
    judged: 0,
};

const LOGIN: Dialogue = Dialogue {
    options: &[("login", "check"), ("passwd", "se \"cret")],
    turns: &[
        ("0 LOGIN check \"se \\\"cret\"", "* CAPABILITY IMAP4rev1\r\n* 0 EXISTS\r\n0 OK in\r\n"),
        ("1 LOGOUT", "* BYE\r\n1 OK\r\n"),
    ],
    judged: 1,
    ..GREETING
};

fn over_tls(dialogue: Dialogue) -> Dialogue {
    Dialogue { kind: "imaps", ..dialogue }
}

#[tokio::test]
async fn without_a_login_a_greeting_is_enough() {
    assert_eq!(GREETING.goes_well().await, "* OK [CAPABILITY IMAP4rev1] ready");
    assert_eq!(over_tls(GREETING).goes_well().await, "* OK [CAPABILITY IMAP4rev1] ready");
}

#[tokio::test]
async fn a_login_is_quoted_where_it_must_be() {
    LOGIN.goes_well().await;
    over_tls(LOGIN).goes_well().await;
    let empty = Dialogue {
        options: &[("login", "a\\b")],
        turns: &[("0 LOGIN \"a\\\\b\" \"\"", "0 ok\r\n"), ("1 LOGOUT", "* BYE\r\n")],
        ..LOGIN
    };
    empty.goes_well().await;
}

#[tokio::test]
async fn who_is_in_already_does_not_log_in() {
    for options in [GREETING.options, LOGIN.options] {
        let preauth = Dialogue { greeting: "* PREAUTH hello again\r\n", options, ..GREETING };
        assert_eq!(preauth.goes_well().await, "* PREAUTH hello again");
    }
}

#[tokio::test]
async fn the_port_that_is_asked_for_is_the_one_that_is_checked() {
    for kind in ["imap", "imaps"] {
        assert_eq!(code(outcome(kind, closed().await, &[]).await), "connect-refused");
    }
}

#[tokio::test]
async fn a_refusal_is_down_and_tells_no_password() {
    for (dialogue, turn, answer, wanted) in [
        (GREETING, 0, "* BYE busy\r\n", "receive-status: greeting: * BYE busy"),
        (GREETING, 0, "* NO\r\n", "receive-protocol: greeting: not an answer of this protocol: * NO"),
        (GREETING, 0, "+OK pop\r\n", "receive-protocol: greeting: not an answer of this protocol: +OK pop"),
        (LOGIN, 1, "0 NO [AUTH] not \"se \"cret\r\n", "receive-status: LOGIN: NO"),
        (LOGIN, 1, "* x\r\n0 BAD LOGIN check \"se \"cret\r\n", "receive-status: LOGIN: BAD"),
        (LOGIN, 1, "* BYE se \"cret\r\n", "receive-status: LOGIN: BYE"),
        (LOGIN, 1, "1 OK other tag se \"cret\r\n", "receive-protocol: LOGIN: not an answer of this protocol"),
        (LOGIN, 1, "+ go on se \"cret\r\n", "receive-protocol: LOGIN: not an answer of this protocol"),
        (LOGIN, 1, "0 se \"cret\r\n", "receive-protocol: LOGIN: not an answer of this protocol"),
    ] {
        assert_eq!(dialogue.answered(turn, answer).await, wanted);
        assert_eq!(over_tls(dialogue).answered(turn, answer).await, wanted);
    }
}

#[tokio::test]
async fn ill_servers_are_down_in_time() {
    tokio::join!(GREETING.survives_ill_servers(), LOGIN.survives_ill_servers());
}

#[tokio::test]
async fn ill_servers_are_down_in_time_over_tls() {
    over_tls(LOGIN).survives_ill_servers().await;
}

#[tokio::test]
async fn a_good_chain_is_enough_whatever_the_name() {
    over_tls(LOGIN).checks_certificates().await;
}

#[test]
fn a_login_that_is_no_part_of_a_line_is_a_fault_where_it_stands() {
    let target = target("127.0.0.1:143".parse().unwrap());
    for kind in ["imap", "imaps"] {
        let fault = make(kind, &target, &[("login", "a"), ("passwd", "b\n1 DELETE INBOX")]).unwrap_err();
        assert_eq!(fault.message, "passwd must not hold a line end or NUL");
    }
}
