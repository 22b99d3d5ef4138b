//! An HTTP server that says its name, or fails in a chosen way.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::net::Ns;

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Answers 200 and `NAME is well`.
    Well,
    /// Answers 500.
    Error,
    /// Takes the connection and never answers.
    Hang,
    /// Listens no more: the kernel refuses.
    Refuse,
    /// Takes the connection and resets it.
    Reset,
}

const MODES: [Mode; 5] = [Mode::Well, Mode::Error, Mode::Hang, Mode::Refuse, Mode::Reset];
/// How soon a listener notices a new mode.
const NOTICE: Duration = Duration::from_millis(20);

/// A server on some ports of all addresses of a namespace. Ends when dropped.
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<()>>,
}

struct Shared {
    name: String,
    mode: AtomicU8,
    over: AtomicBool,
}

impl Shared {
    fn mode(&self) -> Mode {
        MODES[self.mode.load(Ordering::Relaxed) as usize]
    }
}

impl Server {
    /// Starts it, well; it listens when this returns.
    pub fn start(ns: &Ns, name: &str, ports: &[u16]) -> Server {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            mode: AtomicU8::new(Mode::Well as u8),
            over: AtomicBool::new(false),
        });
        let listeners = ports
            .iter()
            .map(|&port| {
                let shared = shared.clone();
                let listener = ns.enter(|| listen(port));
                ns.spawn(move || serve(listener, port, &shared))
            })
            .collect();
        Server { shared, listeners }
    }

    /// Behaves in that way from now on (within some 20 ms).
    pub fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

fn listen(port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("reuse of the address");
    socket.set_read_timeout(Some(NOTICE)).expect("a timeout");
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    socket.bind(&at.into()).unwrap_or_else(|error| panic!("port {port}: {error}"));
    socket.listen(256).expect("listening");
    socket
}

fn serve(first: Socket, port: u16, shared: &Arc<Shared>) {
    let mut listener = Some(first);
    while !shared.over.load(Ordering::Relaxed) {
        if shared.mode() == Mode::Refuse {
            listener = None;
            thread::sleep(NOTICE);
            continue;
        }
        let socket = listener.get_or_insert_with(|| listen(port));
        if let Ok((connection, _)) = socket.accept() {
            let shared = shared.clone();
            thread::spawn(move || answer(connection, &shared));
        }
    }
}

fn answer(connection: Socket, shared: &Shared) {
    let mode = shared.mode();
    let _ = connection.set_read_timeout(Some(Duration::from_secs(2)));
    match mode {
        Mode::Reset => {
            let _ = connection.set_linger(Some(Duration::ZERO));
        }
        Mode::Hang => {
            while shared.mode() == Mode::Hang && !shared.over.load(Ordering::Relaxed) {
                thread::sleep(NOTICE);
            }
        }
        Mode::Well | Mode::Error | Mode::Refuse => drop(reply(connection.into(), mode, &shared.name)),
    }
}

fn reply(mut connection: TcpStream, mode: Mode, name: &str) -> io::Result<()> {
    let mut request: Vec<u8> = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut part)? {
            0 => return Ok(()),
            count => request.extend(&part[..count]),
        }
    }
    let status = if mode == Mode::Well { "200 OK" } else { "500 Internal Server Error" };
    let body = format!("{name} is well\n");
    let length = body.len();
    write!(connection, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}
