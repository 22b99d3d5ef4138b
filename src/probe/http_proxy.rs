//! `http_proxy`: a URL can be fetched through the server, which is an HTTP proxy.
//!
//! `request` is a URL. A page of an `https` one is fetched through a tunnel (CONNECT), and its certificate's
//! chain is checked. What is no URL is a path on the server itself. Names are the proxy's to look
//! up, and redirects are followed through it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::HeaderValue;

use super::never::never;
use super::options::Options;
use super::receive::Receive;
use super::tls::Verify;
use super::url::{self, Host, Url};
use super::web::Inquiry;
use super::{Asking, Call, Check, Kind, Probe, Target, http};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "http_proxy",
    doc: "a URL that is fetched through the server answers with status 2xx and the expected body",
    port: Some(3128),
    options: &["request", "receive", "httpmethod", "verify"],
    make,
};

#[derive(Debug)]
struct HttpProxy {
    proxy: SocketAddr,
    inquiry: Inquiry,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let proxy = target.check;
    let method = http::method(options)?;
    let receive = Receive::take(options)?;
    let verify = Verify::take(options, Verify::Chain)?;
    let request = options.take("request").map(|given| given.text).unwrap_or_default();
    let Some(url) = url(proxy, &request) else {
        return Ok(never("the request is no URL that can be fetched: http://HOST[:PORT]/PATH"));
    };
    let Ok(host) = HeaderValue::from_str(&url.authority) else {
        return Ok(never("the request's host holds characters that no host has"));
    };
    let name = url.host.name();
    let (host, name, through) = (Some(host), name.map(Into::into), Some(Box::new(proxy)));
    let inquiry = Inquiry { method, url, host, name, verify, receive, proxy: through };
    Ok(Check::Ask(Arc::new(HttpProxy { proxy, inquiry })))
}

fn url(proxy: SocketAddr, request: &[u8]) -> Option<Url> {
    let request = request.trim_ascii_end();
    if request.starts_with(b"http://") || request.starts_with(b"https://") {
        return Url::parse(request);
    }
    let authority = proxy.to_string().into();
    Some(Url {
        tls: false,
        host: Host::Ip(proxy.ip()),
        port: proxy.port(),
        authority,
        path: url::escape(request)?.into(),
    })
}

impl Probe for HttpProxy {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(self.inquiry.ask(call))
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.proxy.ip())
    }

    fn identity(&self) -> String {
        let Inquiry { method, url, verify, receive, .. } = &self.inquiry;
        let proxy = self.proxy;
        format!("http_proxy {proxy} {method} {:?} {verify:?} {:?}", url.to_string(), receive.text())
    }
}
