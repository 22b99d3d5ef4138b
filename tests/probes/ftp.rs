//! `ftp`.

use std::net::SocketAddr;
use std::time::Duration;

use lvsentry::probe::ftp::FILE;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::dialogue::Dialogue;
use crate::support::probe::{LONG, SHORT, closed, code, make, outcome, outcome_within, target};
use crate::support::server::{Act, Server};

const LOGIN: Dialogue = Dialogue {
    kind: "ftp",
    options: &[("login", "check"), ("passwd", "se cret")],
    greeting: "120 soon\r\n220-ftp.example.org\r\nany text\r\n220 ready\r\n",
    turns: &[
        ("USER check", "331 password?\r\n"),
        ("PASS se cret", "230-hello\r\n230 in\r\n"),
        ("QUIT", "221 bye\r\n"),
    ],
    judged: 2,
};

/// The dialogue that fetches a file through this passive port.
fn fetch(port: SocketAddr) -> Dialogue {
    let number = port.port();
    let (passive, answer) = match port {
        // The address is one that nobody has: it is not to be used.
        SocketAddr::V4(_) => ("PASV", format!("227 here (192,0,2,1,{},{}).\r\n", number >> 8, number & 255)),
        SocketAddr::V6(_) => ("EPSV", format!("229 here (|||{number}|)\r\n")),
    };
    let turns = [
        ("USER check", "331 password?\r\n"),
        ("PASS se cret", "230 in\r\n"),
        ("CWD /", "550 no\r\n"),
        ("TYPE I", "500 no\r\n"),
        (passive, &*answer.leak()),
        ("RETR /pub/x", "150 it comes\r\n226 done\r\n"),
        ("QUIT", "221 bye\r\n"),
    ];
    Dialogue {
        options: &[
            ("login", "check"),
            ("passwd", "se cret"),
            ("request", "pub/x"),
            ("receive", "^all.fine$"),
        ],
        turns: Vec::leak(turns.to_vec()),
        judged: 6,
        greeting: "220 ready\r\n",
        ..LOGIN
    }
}

/// A passive port that sends this.
async fn data(at: &str, acts: Vec<Act>) -> Server {
    Server::listening(at, acts, None).await
}

fn file() -> Vec<Act> {
    vec![Act::Send(b"all fine\n".to_vec())]
}

#[tokio::test]
async fn without_a_receive_a_login_is_enough() {
    assert_eq!(LOGIN.goes_well().await, "220-ftp.example.org");
    let anonymous = Dialogue {
        options: &[("request", "unused")],
        turns: &[("USER anonymous", "331\r\n"), ("PASS ", "202 not needed\r\n"), ("QUIT", "221\r\n")],
        ..LOGIN
    };
    anonymous.goes_well().await;
    let open = Dialogue { turns: &[("USER check", "230 in\r\n"), ("QUIT", "221 bye\r\n")], ..LOGIN };
    open.goes_well().await;
}

#[tokio::test]
async fn a_refusal_is_down_and_tells_no_password() {
    for (turn, answer, wanted) in [
        (0, "421 full\r\n", "receive-status: greeting: 421 full"),
        (0, "331 what\r\n", "receive-status: greeting: 331 what"),
        (0, "SSH-2.0-x\r\n", "receive-protocol: greeting: not an answer of this protocol: SSH-2.0-x"),
        (1, "530 who\r\n", "receive-status: USER: 530 who"),
        (1, "332 account\r\n", "receive-status: USER: 332 account"),
        (2, "530 not se cret\r\n", "receive-status: PASS: 530"),
        (2, "332 account for se cret\r\n", "receive-status: PASS: 332"),
        (2, "se cret\r\n", "receive-protocol: PASS: not an answer of this protocol"),
    ] {
        assert_eq!(LOGIN.answered(turn, answer).await, wanted);
    }
    assert_eq!(code(outcome("ftp", closed().await, &[]).await), "connect-refused");
}

#[tokio::test]
async fn a_file_is_fetched_through_a_passive_port_at_the_servers_own_address() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let data = data(at, file()).await;
        assert_eq!(fetch(data.at).goes_well_at(at).await, "220 ready");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_whole_or_right_is_down() {
    let data = data("127.0.0.1:0", file()).await;
    let dialogue = fetch(data.at);
    for (answer, wanted) in [
        ("550 no such file: se cret\r\n", "receive-status: RETR: 550"),
        ("425 can not\r\n", "receive-status: RETR: 425"),
        ("150 here\r\n426 cut\r\n", "receive-status: RETR: 426"),
        ("150 here\r\nse cret\r\n", "receive-protocol: RETR: not an answer of this protocol"),
    ] {
        assert_eq!(dialogue.answered(6, answer).await, wanted);
    }
    let wrong = Dialogue {
        options: &[("login", "check"), ("passwd", "se cret"), ("request", "/pub/x"), ("receive", "ill")],
        ..dialogue
    };
    let failure = wrong.answered(6, "150 it comes\r\n226 done\r\n").await;
    assert_eq!(failure, "match-mismatch: the file (9 bytes) does not match receive");
}

#[tokio::test]
async fn ill_servers_are_down_in_time() {
    let data = data("127.0.0.1:0", file()).await;
    let fetch = fetch(data.at);
    tokio::join!(LOGIN.survives_ill_servers(), fetch.survives_ill_servers());
}

#[tokio::test]
async fn ill_data_connections_are_down_in_time() {
    for (acts, wanted) in [
        (vec![], "match-mismatch"),
        (vec![Act::Send(b"all fine".to_vec()), Act::Reset], "receive-reset"),
        (vec![Act::Hold], "receive-timeout"),
        (vec![Act::Send(b"all fine".to_vec()), Act::Hold], "receive-timeout"),
        (vec![Act::Drip(b"all fine".to_vec(), SHORT / 4)], "receive-timeout"),
        (vec![Act::Flood(vec![b'x'; 10_000], 100 * FILE)], "match-too-large"),
        (vec![Act::Flood(vec![b'x'; 10_000], FILE)], "match-mismatch"),
        (vec![Act::Flood(vec![b'x'; 10_000], FILE + 1)], "match-too-large"),
    ] {
        let limit = if wanted == "receive-timeout" { SHORT } else { LONG };
        let data = data("127.0.0.1:0", acts).await;
        let dialogue = fetch(data.at);
        let server = Server::start(dialogue.acts()).await;
        let answer = outcome_within(limit, "ftp", server.at, dialogue.options).await;
        assert_eq!(code(answer), wanted);
        assert!(data.sent() < 16 * FILE, "the server could send {} bytes", data.sent());
    }
}

#[tokio::test]
async fn the_beginning_of_a_large_file_can_match() {
    let acts = vec![Act::Send(b"start".to_vec()), Act::Flood(vec![b'x'; 10_000], 100 * FILE)];
    let data = data("127.0.0.1:0", acts).await;
    let dialogue = Dialogue { options: &[("login", "check"), ("receive", "^start")], ..fetch(data.at) };
    let server = Server::start(dialogue.acts()).await;
    outcome("ftp", server.at, dialogue.options).await.unwrap();
}

/// What a server does when it is to connect to us.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Connects, then says 150, sends, says 226.
    Well,
    /// Says 150 and 226 at once, and connects only then.
    Late,
    /// Somebody else connects before it does.
    Stranger,
    /// Says 150, then that it can not connect.
    Unable,
    /// Says 150 and no more.
    Never,
    /// Refuses PORT.
    Refuse,
}

/// Serves one client, without passive ports or with a wrong one; ends with what was said.
async fn active(at: &str, passive: String, way: Way) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let at = listener.local_addr().unwrap();
    let serve = async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let (mut said, mut to) = (Vec::new(), peer);
        writer.write_all(b"220 ready\r\n").await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.split(' ').next().unwrap() {
                "PASV" | "EPSV" => passive.clone(),
                "PORT" | "EPRT" if way == Way::Refuse => "500 no\r\n".to_owned(),
                command @ ("PORT" | "EPRT") => {
                    to = invited(&line);
                    assert_eq!(to.ip(), peer.ip());
                    said.push(format!("{command} {}", to.ip()));
                    writer.write_all(b"200 fine\r\n").await.unwrap();
                    continue;
                }
                "RETR" => {
                    retrieve(way, to, &mut writer).await;
                    String::new()
                }
                _ => "200 fine\r\n".to_owned(),
            };
            said.push(line);
            writer.write_all(answer.as_bytes()).await.unwrap();
        }
        said
    };
    (at, tokio::spawn(serve))
}

async fn retrieve(way: Way, to: SocketAddr, control: &mut (impl AsyncWriteExt + Unpin)) {
    let mut say = async |line: &str| control.write_all(line.as_bytes()).await.unwrap();
    match way {
        Way::Refuse => {}
        Way::Never => say("150 soon\r\n").await,
        Way::Unable => say("150 soon\r\n425 can not connect\r\n").await,
        Way::Well | Way::Late | Way::Stranger => {
            if way == Way::Late {
                say("150 soon\r\n226 done\r\n").await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if way == Way::Stranger {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
                let mut stranger = socket.connect(to).await.unwrap();
                stranger.write_all(b"all wrong\n").await.unwrap();
            }
            let mut data = TcpStream::connect(to).await.unwrap();
            data.write_all(b"all fine\n").await.unwrap();
            drop(data);
            if way != Way::Late {
                say("150 soon\r\n226 done\r\n").await;
            }
        }
    }
}

/// The address in PORT or EPRT.
fn invited(line: &str) -> SocketAddr {
    match line.strip_prefix("PORT ") {
        Some(numbers) => {
            let n: Vec<u8> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
            SocketAddr::from(([n[0], n[1], n[2], n[3]], u16::from_be_bytes([n[4], n[5]])))
        }
        None => {
            let fields: Vec<_> = line.split('|').collect();
            assert_eq!((fields[0], fields[1], fields.len()), ("EPRT ", "2", 5));
            format!("[{}]:{}", fields[2], fields[3]).parse().unwrap()
        }
    }
}

const OPTIONS: &[(&str, &str)] = &[("request", "x"), ("receive", "^all fine$")];

#[tokio::test]
async fn where_passive_is_refused_the_server_is_asked_to_connect() {
    for (at, passive, port) in [("127.0.0.1:0", "PASV", "PORT 127.0.0.1"), ("[::1]:0", "EPSV", "EPRT ::1")] {
        for refusal in ["502 no\r\n", "227 here\r\n", "425 try (|||1|) 1,2,3,4,5,6\r\n", "229 (|||0|)\r\n"] {
            let (at, served) = active(at, refusal.to_owned(), Way::Well).await;
            assert_eq!(outcome("ftp", at, OPTIONS).await.unwrap(), "220 ready");
            let said = ["USER anonymous", "CWD /", "TYPE I", passive, port, "RETR /x", "QUIT"];
            assert_eq!(served.await.unwrap(), said, "{refusal}");
        }
    }
}

#[tokio::test]
async fn where_the_passive_port_is_closed_the_server_is_asked_to_connect() {
    for (at, passive) in [("127.0.0.1:0", "227 (127,0,0,1,0,1)\r\n"), ("[::1]:0", "229 (|||1|)\r\n")] {
        let (at, _served) = active(at, passive.to_owned(), Way::Well).await;
        outcome("ftp", at, OPTIONS).await.unwrap();
    }
}

#[tokio::test]
async fn a_passive_port_behind_a_firewall_leaves_time_for_the_other_way() {
    // Nobody accepts: a full backlog drops what comes in.
    let listener = TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let deaf = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(tokio::time::timeout(SHORT, TcpStream::connect(deaf)).await);
    }
    let passive = format!("227 (127,0,0,1,{},{})\r\n", deaf.port() >> 8, deaf.port() & 255);
    let (at, _served) = active("127.0.0.1:0", passive, Way::Well).await;
    outcome_within(Duration::from_secs(3), "ftp", at, OPTIONS).await.unwrap();
}

#[tokio::test]
async fn the_server_alone_may_connect_and_may_take_its_time() {
    for way in [Way::Late, Way::Stranger] {
        let (at, _served) = active("127.0.0.1:0", "500 no\r\n".to_owned(), way).await;
        outcome("ftp", at, OPTIONS).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_does_not_connect_is_down() {
    for (way, wanted) in [
        (Way::Unable, "receive-status: RETR: 425 can not connect"),
        (Way::Never, "receive-timeout: no complete answer within 0.3 s"),
        (Way::Refuse, "receive-status: PORT: 500 no"),
    ] {
        let (at, _served) = active("127.0.0.1:0", "500 no\r\n".to_owned(), way).await;
        let limit = if way == Way::Never { SHORT } else { LONG };
        let failure = outcome_within(limit, "ftp", at, OPTIONS).await.unwrap_err();
        assert_eq!(failure.to_string(), wanted);
    }
}

#[test]
fn what_is_no_part_of_a_line_is_a_fault_where_it_stands() {
    let target = target("127.0.0.1:21".parse().unwrap());
    for (name, message) in [
        ("request", "request must not hold a line end or NUL"),
        ("login", "login must not hold a line end or NUL"),
        ("passwd", "passwd must not hold a line end or NUL"),
    ] {
        let fault = make("ftp", &target, &[(name, "x\r\nDELE /pub/x")]).unwrap_err();
        assert_eq!((fault.message.as_str(), fault.span.unwrap().start), (message, 100));
    }
}
