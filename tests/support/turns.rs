//! A server that speaks first in the clear and then over TLS, another part on each connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::tls::acceptor;

/// What it does on a connection. What the client sends afterwards is kept, to its end.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Sent at once.
    pub first: Vec<u8>,
    /// So many bytes are read then.
    pub ask: usize,
    /// Sent as an answer to them.
    pub answer: Vec<u8>,
    /// Whether TLS is spoken from here on.
    pub tls: bool,
    /// Sent then.
    pub then: Vec<u8>,
}

/// A running server; it ends with this.
pub struct Turns {
    /// Where it listens.
    pub at: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Turns {
    /// Starts one on 127.0.0.1, which takes these turns and the last of them again and again.
    pub async fn start(turns: Vec<Turn>) -> Turns {
        Turns::listening("127.0.0.1:0", turns).await
    }

    /// Starts one on an address.
    pub async fn listening(at: &str, turns: Vec<Turn>) -> Turns {
        let listener = TcpListener::bind(at).await.unwrap();
        let at = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (tls, _) = acceptor(None, |_| {}, rustls::DEFAULT_VERSIONS);
        let hear = heard.clone();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let turn = turns.get(number).or(turns.last()).unwrap();
                let said = serve(&mut stream, turn, &tls).await.unwrap_or_default();
                hear.lock().unwrap().push(said);
            }
        });
        Turns { at, heard, task }
    }

    /// What was said on each connection that is over, after what its turn waits for.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    turn: &Turn,
    tls: &TlsAcceptor,
) -> std::io::Result<Vec<u8>> {
    stream.write_all(&turn.first).await?;
    let mut asked = vec![0; turn.ask];
    stream.read_exact(&mut asked).await?;
    stream.write_all(&turn.answer).await?;
    match turn.tls {
        true => rest(&mut tls.accept(stream).await?, turn).await,
        false => rest(stream, turn).await,
    }
}

async fn rest(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), turn: &Turn) -> std::io::Result<Vec<u8>> {
    stream.write_all(&turn.then).await?;
    stream.flush().await?;
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    Ok(said)
}
