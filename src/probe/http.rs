//! `http`: an HTTP request is answered with status 2xx and the expected body.
//!
//! The request goes to the check address. With `request_absolute` (whatever its value), a `request`
//! of the check's own scheme is a whole URL, which replaces address and port too: so ldirectord takes
//! the request of a `real` line. Either way the Host header is `virtualhost`, or else the bare address,
//! without a port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::Method;
use hyper::header::HeaderValue;

use super::options::{Given, Options};
use super::receive::Receive;
use super::tls::Verify;
use super::url::{self, Host, Url};
use super::web::{self, Inquiry};
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "http",
    doc: "an HTTP request is answered with status 2xx and the expected body",
    port: Some(80),
    options: OPTIONS,
    make: |target, options| make(false, target, options),
};

/// What `http` and `https` take.
pub const OPTIONS: &[&str] =
    &["request", "request_absolute", "receive", "virtualhost", "httpmethod", "verify"];

#[derive(Debug)]
struct Http {
    inquiry: Inquiry,
}

/// Makes the check, with or without TLS.
pub(super) fn make(tls: bool, target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let url = url(tls, target.check, options)?;
    let method = method(options)?;
    let given = options.take("virtualhost").filter(|given| !given.text.is_empty());
    let (host, name) = match given {
        Some(given) => virtual_host(&given).map(|(host, name)| (Some(host), name))?,
        // A request may name another address than is checked.
        None => {
            let own = Host::Ip(target.check.ip());
            ((url.host != own).then(|| web::bare(&own)), url.host.name())
        }
    };
    let receive = Receive::take(options)?;
    let verify = if tls { Verify::take(options, Verify::Chain)? } else { Verify::Chain };
    Ok(Check::Ask(Arc::new(Http {
        inquiry: Inquiry { method, url, host, name: name.map(Into::into), verify, receive, proxy: None },
    })))
}

fn url(tls: bool, check: SocketAddr, options: &mut Options) -> Result<Url, Fault> {
    let absolute = options.take("request_absolute").is_some();
    let request = options.take("request").unwrap_or(Given { text: b"/".to_vec(), span: 0..0 });
    let scheme = if tls { "https://" } else { "http://" };
    // A URL of the other scheme is a path to ldirectord.
    if absolute && request.text.starts_with(scheme.as_bytes()) {
        return Url::parse(&request.text).ok_or_else(|| {
            Fault::error(request.span, "this URL can not be requested")
                .help(format!("{scheme}HOST[:PORT]/PATH, where HOST is a name or an address"))
        });
    }
    let path = url::escape(request.text.trim_ascii_end());
    let path = path.ok_or_else(|| Fault::error(request.span, "this request is too long"))?;
    Ok(Url {
        tls,
        host: Host::Ip(check.ip()),
        port: check.port(),
        authority: check.to_string().into(),
        path: path.into(),
    })
}

pub(super) fn method(options: &mut Options) -> Result<Method, Fault> {
    match options.take("httpmethod") {
        None => Ok(Method::GET),
        Some(given) if given.text.eq_ignore_ascii_case(b"get") => Ok(Method::GET),
        Some(given) if given.text.eq_ignore_ascii_case(b"head") => Ok(Method::HEAD),
        Some(given) => Err(Fault::error(given.span, "httpmethod must be GET or HEAD")),
    }
}

/// The Host header, and the name for the TLS handshake: its part before a port.
fn virtual_host(given: &Given) -> Result<(HeaderValue, Option<String>), Fault> {
    let header = HeaderValue::from_bytes(&given.text).map_err(|_| {
        Fault::error(given.span.clone(), "invalid virtualhost")
            .help("a host name, which holds no control characters")
    })?;
    let name = header.to_str().ok().map(|host| host.split(':').next().unwrap_or(host).to_owned());
    Ok((header, name))
}

impl Probe for Http {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(self.inquiry.ask(call))
    }

    fn peer(&self) -> Option<IpAddr> {
        match self.inquiry.url.host {
            Host::Ip(ip) => Some(ip),
            Host::Name(_) => None,
        }
    }

    fn identity(&self) -> String {
        let Inquiry { method, url, host, name, verify, receive, proxy: _ } = &self.inquiry;
        // Quoted by `Debug`, so that no two questions give the same text.
        format!("http {method} {:?} {host:?} {name:?} {verify:?} {:?}", url.to_string(), receive.text())
    }
}
