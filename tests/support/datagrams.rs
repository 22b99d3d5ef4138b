//! A server over UDP on loopback: a function says what it answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A running server; it ends with this.
pub struct Datagrams {
    /// Where it listens.
    pub at: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Datagrams {
    /// Starts one on 127.0.0.1. `answers` makes of a datagram those that are sent back.
    pub async fn start(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Datagrams {
        Datagrams::listening("127.0.0.1:0", answers).await
    }

    /// Starts one on an address.
    pub async fn listening(at: &str, answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Datagrams {
        let socket = UdpSocket::bind(at).await.unwrap();
        let at = socket.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let seen_by = seen.clone();
        let task = tokio::spawn(async move {
            let mut datagram = vec![0; 65_536];
            loop {
                let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
                seen_by.lock().unwrap().push(datagram[..length].to_vec());
                for answer in answers(&datagram[..length]) {
                    // The client may be gone.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Datagrams { at, seen, task }
    }

    /// The datagrams that came in.
    pub fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }

    /// A port of 127.0.0.1 that nobody listens at.
    pub async fn nobody() -> SocketAddr {
        UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }
}
