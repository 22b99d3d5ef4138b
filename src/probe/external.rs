//! `external`: a program says whether the server is well: it is when its exit status is 0.
//!
//! How it is started, and ended, is said in `process.rs`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::never::never;
use super::options::Options;
use super::process::{Program, arguments, verdict};
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "external",
    doc: "a program ends with status 0",
    port: None,
    options: &["checkcommand"],
    make,
};

/// What is run when no program is named.
const DEFAULT: &[u8] = b"/bin/true";

#[derive(Debug)]
struct External {
    program: OsString,
    arguments: [OsString; 4],
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let program = match options.take("checkcommand") {
        None => DEFAULT.to_vec(),
        Some(given) if given.text.is_empty() => {
            return Err(Fault::error(given.span, "invalid check command"));
        }
        Some(given) if given.text.iter().any(|b| b.is_ascii_whitespace() || *b == 0) => {
            return Ok(never("checkcommand is one program, without arguments: wrap it in a script"));
        }
        Some(given) => given.text,
    };
    Ok(Check::Ask(Arc::new(External { program: OsString::from_vec(program), arguments: arguments(target) })))
}

impl Probe for External {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let program = Program { name: &self.program, arguments: &self.arguments, environment: &[] };
            verdict(program.run(call).await?)
        })
    }

    fn identity(&self) -> String {
        format!("external {:?} {:?}", self.program, self.arguments)
    }

    fn command(&self) -> Option<String> {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        Some(words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }
}
