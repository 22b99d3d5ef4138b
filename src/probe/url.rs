//! The URLs of checks and redirects: as much of RFC 3986 as following them needs. Pure.
//!
//! Bytes are escaped as ldirectord's URI library escapes them, so that servers see the same path.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Longest path and query that is asked for, in bytes.
const PATH: usize = 32 * 1024;

/// An `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is an `https` one.
    pub tls: bool,
    /// Whose it is.
    pub host: Host,
    /// The port, written or not.
    pub port: u16,
    /// Host and port as written, without user and password: the Host header.
    pub authority: Box<str>,
    /// Path and query, escaped; begins with `/`.
    pub path: Box<str>,
}

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, to be looked up.
    Name(String),
}

impl Host {
    /// The name, when it is one.
    pub fn name(&self) -> Option<String> {
        match self {
            Host::Ip(_) => None,
            Host::Name(name) => Some(name.clone()),
        }
    }
}

impl Url {
    /// Reads an absolute URL; none when it is not one of `http` or `https` with a usable host.
    pub fn parse(text: &[u8]) -> Option<Url> {
        let text = text.trim_ascii();
        let (tls, rest) = match (cut_scheme(text, b"http"), cut_scheme(text, b"https")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return None,
        };
        Url::of(tls, rest.strip_prefix(b"//")?)
    }

    /// Reads what stands behind the `//`.
    fn of(tls: bool, rest: &[u8]) -> Option<Url> {
        let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = std::str::from_utf8(authority).ok()?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
        let (host, port) = split_authority(authority)?;
        let port = match port {
            None | Some("") if tls => 443,
            None | Some("") => 80,
            Some(port) => number(port)?,
        };
        Some(Url { tls, host, port, authority: authority.into(), path: escape(path)?.into() })
    }

    /// Where a redirect from here leads; none when its Location is not usable.
    pub fn join(&self, location: &[u8]) -> Option<Url> {
        let location = location.trim_ascii();
        if has_scheme(location) {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix(b"//") {
            return Url::of(self.tls, rest);
        }
        let (base, _query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let path = match location.first() {
            None | Some(b'#') => self.path.to_string(),
            Some(b'/') => flat(&escape(location)?),
            Some(b'?') => base.to_owned() + escape(location)?.strip_prefix('/')?,
            Some(_) => {
                let folder = base.rfind('/').map_or("", |slash| &base[..slash]);
                flat(&format!("{folder}{}", escape(&[b"/", location].concat())?))
            }
        };
        Some(Url { path: path.into(), ..self.clone() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// What follows `scheme:`.
fn cut_scheme<'a>(text: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = text.split_at_checked(scheme.len())?;
    name.eq_ignore_ascii_case(scheme).then_some(rest)?.strip_prefix(b":")
}

/// Whether a reference is absolute (RFC 3986 section 4.2).
fn has_scheme(text: &[u8]) -> bool {
    let end = text.iter().position(|b| b":/?#".contains(b));
    end.is_some_and(|end| {
        text[end] == b':'
            && text[0].is_ascii_alphabetic()
            && text[..end].iter().all(|&b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// Host and written port of an authority.
fn split_authority(authority: &str) -> Option<(Host, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']')?;
        let ip = ip.parse::<Ipv6Addr>().ok()?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        return Some((Host::Ip(ip.into()), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let host = match host.parse() {
        Ok(ip) => Host::Ip(ip),
        Err(_) if is_name(host) => Host::Name(host.to_owned()),
        Err(_) => return None,
    };
    Some((host, port))
}

fn is_name(host: &str) -> bool {
    let fits = (1..=253).contains(&host.len());
    fits && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| port.parse().ok()).flatten().filter(|&port| port > 0)
}

/// Path and query as they are sent: a fragment is cut, and what a URI may not hold becomes `%XX`
/// (brackets too, since they stand outside the host). None when it is too long.
pub fn escape(path: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(path.len() + 1);
    if path.first() != Some(&b'/') {
        out.push('/');
    }
    for &byte in path.iter().take_while(|&&b| b != b'#') {
        if byte.is_ascii_alphanumeric() || b";/?:@&=+$,-_.!~*'()%".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    (out.len() <= PATH).then_some(out)
}

/// The path without its `.` and `..` (RFC 3986 section 5.2.4); a query stays as it is.
fn flat(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            part => {
                kept.push(part);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What a server puts into a Location leads to a URL that can be asked for, or nowhere.
        #[test]
        fn no_redirect_is_too_odd(location in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b':'), Just(b'?'), Just(b'#'), Just(b'['), Just(b'@'), any::<u8>()],
            0..60,
        ), scheme in "(https?:(//)?)?") {
            let base = Url::parse(b"http://10.0.0.1:81/b/c/d?q").unwrap();
            if let Some(url) = base.join(&[scheme.as_bytes(), &location].concat()) {
                prop_assert!(url.path.starts_with('/') && url.port > 0, "{url}");
                prop_assert!(url.to_string().bytes().all(|b| b.is_ascii_graphic()), "{url}");
                prop_assert_eq!(Url::parse(url.to_string().as_bytes()), Some(url));
            }
        }
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = Url::parse(b" HTTP://user:pw@Example.org:8080/a b?q#f ").unwrap();
        assert_eq!(url.host, Host::Name("Example.org".into()));
        assert_eq!((url.tls, url.port), (false, 8080));
        assert_eq!(&*url.authority, "Example.org:8080");
        assert_eq!(&*url.path, "/a%20b?q");
        let url = Url::parse(b"https://[2001:db8::1]").unwrap();
        assert_eq!(url.host, Host::Ip("2001:db8::1".parse().unwrap()));
        assert_eq!((url.tls, url.port, &*url.path), (true, 443, "/"));
        assert_eq!(&*Url::parse(b"http://10.0.0.1?x").unwrap().path, "/?x");
    }

    #[test]
    fn what_is_no_usable_url_is_none() {
        for text in [
            "",
            "/",
            "x",
            "ftp://h/",
            "http:/h",
            "http://",
            "http://:80/",
            "http://h:0/",
            "http://h:x/",
            "http://h:99999/",
            "http://[::1",
            "http://[::1]x/",
            "http://a b/",
            "http://h:+1/",
            "file:///etc",
        ] {
            assert_eq!(Url::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn redirects_are_resolved_as_rfc_3986_says() {
        let base = Url::parse(b"http://10.0.0.1:81/b/c/d?q").unwrap();
        for (location, wanted) in [
            ("https://other/x", "https://other/x"),
            ("//other:82/x", "http://other:82/x"),
            ("/x/../y", "http://10.0.0.1:81/y"),
            ("g", "http://10.0.0.1:81/b/c/g"),
            ("./g/", "http://10.0.0.1:81/b/c/g/"),
            ("../g", "http://10.0.0.1:81/b/g"),
            ("../../../g", "http://10.0.0.1:81/g"),
            ("..", "http://10.0.0.1:81/b/"),
            ("?y", "http://10.0.0.1:81/b/c/d?y"),
            ("g?a/../b", "http://10.0.0.1:81/b/c/g?a/../b"),
            ("#s", "http://10.0.0.1:81/b/c/d?q"),
            ("", "http://10.0.0.1:81/b/c/d?q"),
            ("g#s", "http://10.0.0.1:81/b/c/g"),
        ] {
            assert_eq!(base.join(location.as_bytes()).unwrap().to_string(), wanted, "{location}");
        }
        assert_eq!(base.join(b"mailto:x@y"), None);
        assert_eq!(base.join(b"http://"), None);
    }

    #[test]
    fn a_path_is_escaped_byte_for_byte() {
        let all: Vec<u8> = (0..=255).filter(|&b| b != b'#').collect();
        let kept: String = escape(&all).unwrap().replace('%', " %");
        assert!(
            kept.contains(" %00") && kept.contains(" %FF") && kept.contains(" %5B") && kept.contains(" %7C")
        );
        assert_eq!(escape(b"/a%20b/;=?&+$,!~*'()").unwrap(), "/a%20b/;=?&+$,!~*'()");
        assert_eq!(escape(b"").unwrap(), "/");
        assert_eq!(escape(&vec![b'x'; PATH + 1]), None);
    }
}
