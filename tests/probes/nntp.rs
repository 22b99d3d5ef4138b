//! `nntp`.

use crate::support::dialogue::Dialogue;

const NNTP: Dialogue = Dialogue {
    kind: "nntp",
    options: &[],
    greeting: "201 news.example.org, no posting\r\n",
    turns: &[("QUIT", "205 bye\r\n")],
    judged: 0,
};

#[tokio::test]
async fn a_news_server_that_greets_is_up() {
    assert_eq!(NNTP.goes_well().await, "201 news.example.org, no posting");
    assert_eq!(Dialogue { greeting: "2\r\n", ..NNTP }.goes_well().await, "2");
}

#[tokio::test]
async fn another_greeting_is_down() {
    for (greeting, wanted) in [
        ("400 overloaded\r\n", "receive-status: greeting: 400 overloaded"),
        ("502 go away\r\n", "receive-status: greeting: 502 go away"),
        ("hello 200\r\n", "receive-protocol: greeting: not an answer of this protocol: hello 200"),
        ("\r\n", "receive-protocol: greeting: not an answer of this protocol: "),
    ] {
        assert_eq!(NNTP.answered(0, greeting).await, wanted);
    }
}

#[tokio::test]
async fn ill_servers_are_down_in_time() {
    NNTP.survives_ill_servers().await;
}
