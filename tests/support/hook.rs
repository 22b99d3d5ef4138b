//! A receiver of webhooks on loopback: keeps what is posted, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it answers to a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status line's end and more headers: `302 Found\r\nLocation: /x`.
    Status(String),
    /// Nothing, and keeps the connection.
    Hang,
    /// Closes.
    Close,
}

/// A post that came in.
#[derive(Debug, Clone)]
pub struct Post {
    pub head: String,
    pub body: String,
}

/// A running receiver; it ends with this.
pub struct Hook {
    pub at: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    reply: Arc<Mutex<Reply>>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    pub async fn start(reply: Reply) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("its address");
        let (posts, reply) = (Arc::<Mutex<Vec<Post>>>::default(), Arc::new(Mutex::new(reply)));
        let (seen, replies) = (posts.clone(), reply.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(stream, seen.clone(), replies.clone()));
            }
        });
        Hook { at, posts, reply, task }
    }

    /// Answers so from now on.
    pub fn reply(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// Everything that was posted.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }
}

/// An answer with this status and nothing more.
pub fn status(line: &str) -> Reply {
    Reply::Status(line.to_owned())
}

async fn serve(mut stream: TcpStream, posts: Arc<Mutex<Vec<Post>>>, reply: Arc<Mutex<Reply>>) {
    // The client may leave at any time.
    while let Ok(post) = read(&mut stream).await {
        posts.lock().unwrap().push(post);
        let reply = reply.lock().unwrap().clone();
        match reply {
            Reply::Close => return,
            Reply::Hang => std::future::pending().await,
            Reply::Status(status) => {
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Post> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("ASCII");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().expect("a number"))
    });
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await?;
    Ok(Post { head, body: String::from_utf8(body).expect("UTF-8") })
}
