//! The netlink socket: the only file that needs `unsafe`, for system calls that no safe wrapper
//! of ours offers.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use super::netlink::{OPERATIONS, ROOM, Wire};

/// Asked for as receive buffer: room for the answers to many windows.
const RECEIVE_BUFFER: libc::c_int = 1 << 20;
/// The kernel answers inside `send`: an answer that is not there then is lost.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A generic netlink socket, connected to the kernel: nobody else can send to it.
pub(super) struct Socket {
    socket: socket2::Socket,
    /// [`ROOM`] bytes, cut into as many slots as datagrams are asked for.
    room: Vec<u8>,
}

impl Socket {
    /// Opens it, in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Socket> {
        let domain = socket2::Domain::from(libc::AF_NETLINK);
        let protocol = socket2::Protocol::from(libc::NETLINK_GENERIC);
        let socket = socket2::Socket::new(domain, socket2::Type::RAW, Some(protocol))?;
        connect_to_kernel(&socket)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        // These make errors short and clear and room for answers; without them all works as well.
        let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER);
        Ok(Socket { socket, room: vec![0; ROOM] })
    }
}

impl Wire for Socket {
    fn send(&mut self, messages: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(messages) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                sent => return sent.map(drop),
            }
        }
    }

    fn receive(&mut self, most: usize, size: usize, wait: bool) -> io::Result<Vec<&[u8]>> {
        let most = most.min(OPERATIONS);
        let lengths = self.receive_into_slots(most, size, wait)?;
        Ok(self.room.chunks(size).zip(lengths).map(|(slot, length)| &slot[..length.min(size)]).collect())
    }
}

impl Socket {
    /// Fetches up to `most` datagrams into slots of `size` bytes, and says how long each is.
    fn receive_into_slots(&mut self, most: usize, size: usize, wait: bool) -> io::Result<Vec<usize>> {
        let mut parts: Vec<libc::iovec> = self
            .room
            .chunks_mut(size)
            .take(most)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let mut heads: Vec<libc::mmsghdr> = parts.iter_mut().map(head).collect();
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        let count = loop {
            // SAFETY: `heads` holds as many valid headers as we say; each points to one part, and
            // each part to a slot of its own. All of them outlive the call.
            let count = unsafe {
                let most = heads.len() as libc::c_uint;
                libc::recvmmsg(self.socket.as_raw_fd(), heads.as_mut_ptr(), most, flags as _, ptr::null_mut())
            };
            match usize::try_from(count) {
                Ok(count) => break count,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        };
        let heads = heads.get(..count).unwrap_or_default();
        if heads.iter().any(|head| head.msg_hdr.msg_flags & libc::MSG_TRUNC != 0) {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        Ok(heads.iter().map(|head| head.msg_len as usize).collect())
    }
}

fn head(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: a plain C structure of numbers and pointers, for which all zero is a valid value.
    let mut head: libc::mmsghdr = unsafe { mem::zeroed() };
    head.msg_hdr.msg_iov = part;
    head.msg_hdr.msg_iovlen = 1;
    head
}

fn connect_to_kernel(socket: &socket2::Socket) -> io::Result<()> {
    // SAFETY: a plain C structure of numbers, for which all zero is a valid value: port 0 is the
    // kernel's.
    let mut kernel: libc::sockaddr_nl = unsafe { mem::zeroed() };
    kernel.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    // SAFETY: the address is valid for the length that we say, and only read.
    let done = unsafe {
        let length = mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        libc::connect(socket.as_raw_fd(), (&raw const kernel).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_option(
    socket: &socket2::Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is valid for the length that we say, and only read.
    let done = unsafe {
        let length = mem::size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
