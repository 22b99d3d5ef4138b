//! The socket's file: its name, its rights, and what is left of an old one.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// Where the sockets of all instances are.
const FOLDER: &str = "/run/lvsentry";

/// The socket of an instance.
pub fn path(instance: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{instance}.sock"))
}

/// All instances that have a socket.
pub fn instances() -> Vec<String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter_map(|name| name.strip_suffix(".sock").map(str::to_owned)).collect();
    names.sort();
    names
}

/// A socket that listens. Its file goes with it.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file.
    place: Option<(u64, u64)>,
}

/// Why a socket can not be had.
#[derive(Debug)]
pub enum Refused {
    /// Another daemon answers there.
    Taken,
    /// It can not be made.
    Failed(io::Error),
}

/// Makes a socket that its owner and its group can use. What an old daemon left there goes. Must be
/// called within a runtime.
pub fn listen(path: &Path) -> Result<Listener, Refused> {
    if is_answered(path) {
        return Err(Refused::Taken);
    }
    make(path).map_err(Refused::Failed)
}

fn make(path: &Path) -> io::Result<Listener> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    // Its rights are set before anybody can find it, and its name takes the old one's place at once.
    let fresh = path.with_extension("sock.new");
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o660))?;
    fs::rename(&fresh, path)?;
    Ok(Listener { listener, path: path.to_owned(), place: place(path) })
}

fn place(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).map(|m| (m.dev(), m.ino())).ok()
}

/// Whether somebody listens there. Does not wait for him.
fn is_answered(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connect() {
        Ok(()) => true,
        // His queue is full.
        Err(why) => why.kind() == io::ErrorKind::WouldBlock,
    }
}

impl Listener {
    /// The next who wants something.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.place.is_some() && self.place == place(&self.path) {
            // Where it can not be removed the next daemon does it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
