//! `pops`: as `pop`, over TLS from the first byte (RFC 8314). The certificate's chain is checked, its
//! name is not ([`super::tls`]).

use super::options::Options;
use super::tls::Manner;
use super::{Check, Kind, Target, pop};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "pops",
    doc: "as pop over TLS; the certificate is trusted",
    port: Some(995),
    options: &["login", "passwd", "virtualhost", "verify"],
    make,
};

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    pop::make(Some(Manner::take(options)?), target, options)
}
