//! `smtp` and `submission`.

use crate::support::dialogue::Dialogue;
use crate::support::probe::{code, outcome};

const SMTP: Dialogue = Dialogue {
    kind: "smtp",
    options: &[],
    greeting: "220-mail.example.org ESMTP\r\n220 welcome\r\n",
    turns: &[
        ("EHLO localhost.localdomain", "250-mail.example.org\r\n250-SIZE 1000\r\n250 HELP\r\n"),
        ("QUIT", "221 bye\r\n"),
    ],
    judged: 1,
};

const OLD: Dialogue = Dialogue {
    greeting: "220 old.example.org\n",
    turns: &[
        ("EHLO localhost.localdomain", "502 5.5.1 what?\r\n"),
        ("HELO localhost.localdomain", "250\r\n"),
        ("QUIT", "221 bye\r\n"),
    ],
    judged: 2,
    ..SMTP
};

#[tokio::test]
async fn a_mail_server_is_greeted_and_left() {
    assert_eq!(SMTP.goes_well().await, "220-mail.example.org ESMTP");
    assert_eq!(Dialogue { kind: "submission", ..SMTP }.goes_well().await, "220-mail.example.org ESMTP");
}

#[tokio::test]
async fn helo_is_said_where_ehlo_is_refused() {
    assert_eq!(OLD.goes_well().await, "220 old.example.org");
}

#[tokio::test]
async fn what_is_not_2xx_is_down() {
    for (dialogue, turn, answer, wanted) in [
        (SMTP, 0, "554 no service\r\n", "receive-status: greeting: 554 no service"),
        (SMTP, 0, "421-busy\r\n421 later\r\n", "receive-status: greeting: 421-busy"),
        (SMTP, 0, "354 go on\r\n", "receive-status: greeting: 354 go on"),
        (SMTP, 0, "+OK pop\r\n", "receive-protocol: greeting: not an answer of this protocol: +OK pop"),
        (SMTP, 0, "2200 four\r\n", "receive-protocol: greeting: not an answer of this protocol: 2200 four"),
        (SMTP, 0, "\r\n", "receive-protocol: greeting: not an answer of this protocol: "),
        (SMTP, 1, "hello\r\n", "receive-protocol: EHLO: not an answer of this protocol: hello"),
        (SMTP, 1, "421 full\r\n", "receive-status: EHLO: 421 full"),
        (OLD, 2, "550 go away\r\n", "receive-status: HELO: 550 go away"),
    ] {
        assert_eq!(dialogue.answered(turn, answer).await, wanted);
    }
}

#[tokio::test]
async fn ill_servers_are_down_in_time() {
    tokio::join!(SMTP.survives_ill_servers(), OLD.survives_ill_servers());
    Dialogue { kind: "submission", ..SMTP }.survives_ill_servers().await;
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    assert_eq!(code(outcome("smtp", crate::support::probe::closed().await, &[]).await), "connect-refused");
}
