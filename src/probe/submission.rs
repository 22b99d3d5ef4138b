//! `submission`: as `smtp`, on the port for mail programs (RFC 6409).

use super::{Kind, smtp};

/// The kind.
pub static KIND: Kind = Kind {
    name: "submission",
    doc: "a mail server for submission greets and answers EHLO or HELO with 2xx",
    port: Some(587),
    options: &[],
    make: smtp::make,
};
