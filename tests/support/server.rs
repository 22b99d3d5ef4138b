//! A server on loopback that follows a script, the same for each connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What it does next; at the end of the script it closes.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads a request, up to its empty line.
    Read,
    /// Reads a line.
    Line,
    /// Reads to the end of what the client sends.
    End,
    /// Reads so many bytes.
    Take(usize),
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes again and again, for ever or until so many bytes are sent.
    Flood(Vec<u8>, usize),
    /// Sends bytes one by one, with pauses.
    Drip(Vec<u8>, Duration),
    /// Closes with RST.
    Reset,
    /// Keeps the connection open and silent.
    Hold,
}

/// Reads a request and answers it.
pub fn answer(bytes: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Act::Read, Act::Send(bytes.as_ref().to_vec())]
}

/// A running server; it ends with this.
pub struct Server {
    /// Where it listens.
    pub at: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    sent: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts one on 127.0.0.1.
    pub async fn start(script: Vec<Act>) -> Server {
        Server::listening("127.0.0.1:0", script, None).await
    }

    /// Starts one on an address.
    pub async fn listening(at: &str, script: Vec<Act>, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind(at).await.unwrap();
        Server::accepting(listener, script, tls)
    }

    /// Starts one on a bound socket.
    pub fn accepting(listener: TcpListener, script: Vec<Act>, tls: Option<TlsAcceptor>) -> Server {
        let at = listener.local_addr().unwrap();
        let (seen, sent) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicUsize>::default());
        let (seen_by, sent_by) = (seen.clone(), sent.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let actor = Actor { script: script.clone(), seen: seen_by.clone(), sent: sent_by.clone() };
                tokio::spawn(actor.serve(stream, tls.clone()));
            }
        });
        Server { at, seen, sent, task }
    }

    /// The requests that came in, as text with Latin-1 read as characters.
    pub fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|bytes| bytes.iter().map(|&b| char::from(b)).collect()).collect()
    }

    /// How many bytes it could send.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

struct Actor {
    script: Vec<Act>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    sent: Arc<AtomicUsize>,
}

impl Actor {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        match tls {
            None => {
                let reset = matches!(self.script.last(), Some(Act::Reset));
                if reset {
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                }
                // The client may leave at any time.
                let _ = self.act(stream).await;
            }
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = self.act(stream).await;
                }
            }
        }
    }

    async fn act(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        for act in &self.script {
            match act {
                Act::Read => self.read(&mut stream, b"\r\n\r\n").await?,
                Act::Line => self.read(&mut stream, b"\n").await?,
                Act::End => {
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).await?;
                    self.seen.lock().unwrap().push(all);
                }
                Act::Take(count) => {
                    let mut request = vec![0; *count];
                    stream.read_exact(&mut request).await?;
                    self.seen.lock().unwrap().push(request);
                }
                Act::Send(bytes) => self.send(&mut stream, bytes).await?,
                Act::Flood(bytes, limit) => {
                    let mut left = *limit;
                    while left > 0 {
                        let part = &bytes[..bytes.len().min(left)];
                        self.send(&mut stream, part).await?;
                        left -= part.len();
                    }
                }
                Act::Drip(bytes, pause) => {
                    for byte in bytes {
                        self.send(&mut stream, &[*byte]).await?;
                        tokio::time::sleep(*pause).await;
                    }
                }
                Act::Reset => return Ok(()),
                Act::Hold => std::future::pending().await,
            }
        }
        stream.shutdown().await
    }

    async fn read(&self, stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(end) {
            request.push(stream.read_u8().await?);
        }
        self.seen.lock().unwrap().push(request);
        Ok(())
    }

    async fn send(&self, stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        self.sent.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(())
    }
}
