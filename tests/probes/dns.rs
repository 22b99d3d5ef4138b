//! `dns`.

use std::time::Duration;

use lvsentry::probe::{Target, Tools, ask};
use tokio::net::TcpListener;

use crate::support::datagrams::Datagrams;
use crate::support::probe::{Answer, LONG, SHORT, code, make, probe, target, udp_target};
use crate::support::server::{Act, Server};

const A: [u8; 4] = [192, 0, 2, 80];

async fn dns(target: &Target, options: &[(&'static str, &str)]) -> Answer {
    within(LONG, target, options).await
}

async fn within(limit: Duration, target: &Target, options: &[(&'static str, &str)]) -> Answer {
    let outcome = ask(&*probe("dns", target, options), limit, &Tools::new()).await;
    assert!(outcome.took < limit + Duration::from_secs(2), "{:?}", outcome.took);
    outcome.into_result()
}

/// A query turned into its answer, with these flags and records of type, data.
fn reply(query: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut reply = query.to_vec();
    reply[2..4].copy_from_slice(&flags.to_be_bytes());
    reply[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, data) in records {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 60]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(*data);
    }
    reply
}

fn addresses(query: &[u8]) -> Vec<Vec<u8>> {
    vec![reply(query, 0x8180, &[(5, b"\x01x\x00"), (1, &[192, 0, 2, 79]), (1, &A)])]
}

#[tokio::test]
async fn an_address_of_the_name_is_good() {
    let server = Datagrams::start(addresses).await;
    let seen = dns(&udp_target(server.at), &[("request", "/www.example.org")]).await.unwrap();
    assert_eq!(seen, "192.0.2.79");
    let query = server.seen().remove(0);
    assert_eq!(
        query[2..],
        *b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01"
    );
}

#[tokio::test]
async fn any_record_may_match_receive() {
    let server = Datagrams::start(addresses).await;
    for (receive, good) in
        [("192\\.0\\.2\\.80", true), ("^192.0.2.79$", true), ("192.0.2.8$", false), ("x", false)]
    {
        let answer = dns(&udp_target(server.at), &[("request", "www"), ("receive", receive)]).await;
        assert_eq!(answer.is_ok(), good, "{receive}");
    }
    let answer = dns(&udp_target(server.at), &[("request", "www"), ("receive", "no")]).await;
    assert_eq!(
        answer.unwrap_err().to_string(),
        "match-mismatch: no A record of www (2 found) matches receive"
    );
}

#[tokio::test]
async fn an_address_as_request_asks_for_its_name() {
    let server =
        Datagrams::listening("[::1]:0", |query| vec![reply(query, 0x8580, &[(12, b"\x03web\x01x\x00")])])
            .await;
    for (request, name) in [
        ("/192.0.2.1", &b"\x011\x012\x010\x03192\x07in-addr\x04arpa\x00\x00\x0c"[..]),
        ("::1", b"\x03ip6\x04arpa\x00\x00\x0c"),
    ] {
        let seen = dns(&udp_target(server.at), &[("request", request), ("receive", "^web.x$")]).await;
        assert_eq!(seen.unwrap(), "web.x");
        let query = server.seen().pop().unwrap();
        assert!(query.windows(name.len()).any(|part| part == name), "{query:x?}");
    }
}

#[tokio::test]
async fn other_records_can_be_asked_for() {
    let mail = |query: &[u8]| vec![reply(query, 0x8180, &[(15, b"\x00\x0a\x04mail\xc0\x0c")])];
    let server = Datagrams::start(mail).await;
    let options = [("request", "example.org"), ("record", "MX"), ("receive", "10 mail.example.org")];
    assert_eq!(dns(&udp_target(server.at), &options).await.unwrap(), "10 mail.example.org");
    let fault = make("dns", &udp_target(server.at), &[("record", "any")]).unwrap_err();
    assert_eq!(fault.message, "this record type can not be asked for");
}

#[tokio::test]
async fn a_refusal_says_what_it_is() {
    for (flags, wanted) in [
        (0x8183, "receive-status: NXDOMAIN: there is no such name"),
        (0x8182, "receive-status: SERVFAIL: the server could not find out"),
        (0x8185, "receive-status: REFUSED: the server does not answer us"),
        (0x8187, "receive-status: response code 7"),
        (0x8180, "match-mismatch: there is no A record of a.b"),
    ] {
        let server = Datagrams::start(move |query| vec![reply(query, flags, &[])]).await;
        let failure = dns(&udp_target(server.at), &[("request", "a.b")]).await.unwrap_err();
        assert_eq!(failure.to_string(), wanted);
    }
}

#[tokio::test]
async fn a_question_that_gets_lost_is_asked_again() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let server =
        Datagrams::start(move |query| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => vec![],
            _ => addresses(query),
        })
        .await;
    within(Duration::from_secs(2), &udp_target(server.at), &[("request", "a")]).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_silent_server_is_asked_twice_within_the_deadline() {
    let server = Datagrams::start(|_| vec![]).await;
    assert_eq!(code(within(SHORT, &udp_target(server.at), &[]).await), "receive-timeout");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_closed_port_is_noticed_at_once() {
    let at = Datagrams::nobody().await;
    assert_eq!(code(dns(&udp_target(at), &[]).await), "receive-refused");
}

#[tokio::test]
async fn strays_are_passed_over_and_told_when_nothing_better_comes() {
    let strays = |query: &[u8]| {
        let good = addresses(query).remove(0);
        let (mut id, mut name) = (good.clone(), good.clone());
        id[0] ^= 1;
        name[13] ^= 1;
        vec![vec![], b"garbage".to_vec(), query.to_vec(), id, name]
    };
    let server = Datagrams::start(move |query| [strays(query), addresses(query)].concat()).await;
    dns(&udp_target(server.at), &[("request", "www")]).await.unwrap();

    let server = Datagrams::start(move |query| strays(query).split_off(3)).await;
    let limit = Duration::from_secs(2);
    let failure = within(limit, &udp_target(server.at), &[("request", "www")]).await.unwrap_err();
    assert_eq!(failure.to_string(), "receive-protocol: an answer to another question");
}

#[tokio::test]
async fn an_answer_that_is_not_readable_fails_at_once() {
    let server = Datagrams::start(|query| vec![reply(query, 0x8180, &[(1, &[1, 2, 3])])]).await;
    let failure = dns(&udp_target(server.at), &[("request", "a")]).await.unwrap_err();
    assert_eq!(failure.to_string(), "receive-protocol: the answer is not readable as DNS");
}

/// Answers over TCP, as often as it is asked.
async fn over_tcp(listener: TcpListener, change: fn(Vec<u8>) -> Vec<u8>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let answer = addresses(&query).remove(0);
        let framed = [&(answer.len() as u16).to_be_bytes(), &answer[..]].concat();
        // The client may be gone.
        let _ = stream.write_all(&change(framed)).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_over_tcp() {
    let server = Datagrams::start(|query| vec![reply(query, 0x8380, &[(1, &A)])]).await;
    let listener = TcpListener::bind(server.at).await.unwrap();
    let task = tokio::spawn(over_tcp(listener, |bytes| bytes));
    let answer = dns(&udp_target(server.at), &[("request", "www"), ("receive", "80$")]).await;
    task.abort();
    assert_eq!(answer.unwrap(), "192.0.2.80");

    let server = Datagrams::start(|query| vec![reply(query, 0x8380, &[])]).await;
    assert_eq!(code(dns(&udp_target(server.at), &[]).await), "connect-refused");
}

#[tokio::test]
async fn a_tcp_service_is_asked_over_tcp() {
    for (change, wanted) in [
        ((|bytes| bytes) as fn(Vec<u8>) -> Vec<u8>, Ok("192.0.2.79".to_owned())),
        (|bytes| bytes[..bytes.len() - 1].to_vec(), Err("receive-closed")),
        (|bytes| bytes[..1].to_vec(), Err("receive-closed")),
        (|_| vec![0, 0], Err("receive-protocol")),
        (|bytes| [&[0xff, 0xff], &bytes[2..]].concat(), Err("receive-closed")),
        (|_| vec![0xff; 65_537], Err("receive-protocol")),
    ] {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(bind).await.unwrap();
            let at = listener.local_addr().unwrap();
            let task = tokio::spawn(over_tcp(listener, change));
            let answer = dns(&target(at), &[("request", "www")]).await;
            task.abort();
            assert_eq!(answer.map_err(|failure| failure.code()), wanted.clone().map_err(str::to_owned));
        }
    }
}

#[tokio::test]
async fn slow_bytes_over_tcp_end_at_the_deadline() {
    let script = vec![Act::Take(2), Act::Drip(vec![1; 1000], Duration::from_millis(50))];
    let server = Server::start(script).await;
    assert_eq!(code(within(SHORT, &target(server.at), &[]).await), "receive-timeout");
}

#[tokio::test]
async fn what_is_no_name_always_fails() {
    let server = Datagrams::start(addresses).await;
    let label = "x".repeat(64);
    for request in ["a..b", &label] {
        let answer = dns(&udp_target(server.at), &[("request", request)]).await;
        assert_eq!(code(answer), "run-not-run", "{request}");
    }
    assert!(server.seen().is_empty());
}
