//! `https`: as `http`, over TLS. The certificate's chain is checked, its name is not ([`super::tls`]).

use super::options::Options;
use super::{Check, Kind, Target, http};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "https",
    doc: "an HTTPS request is answered with status 2xx and the expected body; the certificate is trusted",
    port: Some(443),
    options: http::OPTIONS,
    make,
};

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    http::make(true, target, options)
}
