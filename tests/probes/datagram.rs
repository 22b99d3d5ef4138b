//! The UDP connect of `checktype=N`.

use lvsentry::probe::datagram::datagram;
use lvsentry::probe::{Tools, ask};

use crate::support::datagrams::Datagrams;
use crate::support::probe::{LONG, code};

#[tokio::test]
async fn silence_and_answers_are_good() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let server = Datagrams::listening(at, |_| vec![]).await;
        let outcome = ask(&*datagram(server.at), LONG, &Tools::new()).await;
        assert_eq!(outcome.into_result().unwrap(), "not refused");
        assert_eq!(server.seen(), [[0; 0]]);
        let server = Datagrams::listening(at, |_| vec![b"x".to_vec()]).await;
        assert_eq!(ask(&*datagram(server.at), LONG, &Tools::new()).await.into_result().unwrap(), "answered");
    }
}

#[tokio::test]
async fn a_closed_port_is_bad() {
    let at = Datagrams::nobody().await;
    assert_eq!(code(ask(&*datagram(at), LONG, &Tools::new()).await.into_result()), "connect-refused");
}
