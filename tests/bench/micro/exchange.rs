//! One HTTP check over loopback, against a server on a thread of its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use lvsentry::model::{Protocol, ServiceKey};
use lvsentry::probe::options::Options;
use lvsentry::probe::{Check, Target, Tools, ask, kind};

use crate::pair::Pairs;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nOK\n";
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn measure(pairs: &mut Pairs) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    // Ends with the program.
    thread::spawn(move || {
        for connection in listener.incoming() {
            // A client that leaves early is not the server's trouble.
            let _ = serve(connection.unwrap());
        }
    });
    let service = ServiceKey::Address(Protocol::Tcp, at);
    let mut options = Options::default();
    options.give("request", b"/".to_vec(), 0..1);
    options.give("receive", b"OK".to_vec(), 0..2);
    let target = Target { service, server: at, check: at };
    let Check::Ask(probe) = (kind("http").unwrap().make)(&target, &mut options).unwrap() else {
        panic!("http asks")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tools = Tools::new();
    let check = || assert!(runtime.block_on(ask(&*probe, LIMIT, &tools)).is_good());
    pairs.add(
        "exchange",
        "one HTTP check over loopback",
        |b| b.iter(check),
        "connect, write, read and close, blocking",
        |b| b.iter(|| bare(at).unwrap()),
    );
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    let (mut request, mut length) = ([0; 1024], 0);
    while !request[..length].ends_with(b"\r\n\r\n") {
        match connection.read(&mut request[length..])? {
            0 => return Ok(()),
            count => length += count,
        }
    }
    connection.write_all(ANSWER)
}

fn bare(at: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect(at)?;
    connection.write_all(REQUEST)?;
    let mut answer = [0; ANSWER.len()];
    connection.read_exact(&mut answer)
}
