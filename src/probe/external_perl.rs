//! `external-perl`: a Perl script says whether the server is well, with the arguments of `external`.
//!
//! ldirectord compiles the file as a function of its own, once in its life. Here `perl` reads it
//! anew for each check and runs it as a file of code (perlfunc(1), `do`), so that what works there
//! works here: `exit N` ends the check with N, and so does `return`, or the end of the file, with 0;
//! the arguments are in `@ARGV` and `@_`. Code that does not compile, or dies, ends with 255.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::never::never;
use super::options::Options;
use super::process::{Program, arguments, not_run, verdict};
use super::{Asking, Call, Check, Kind, Probe, Target, dial};
use crate::outcome::{Failure, Phase};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "external-perl",
    doc: "a Perl script ends with status 0",
    port: None,
    options: &["checkcommand"],
    make,
};

/// Runs the file that the first argument names. A path without a slash is not to be looked for
/// among Perl's modules.
const RUN: &str = "$0 = shift @ARGV; $0 = qq(./$0) unless $0 =~ m(/); sub { do $0 }->(@ARGV); \
                   exit 255 if $@; exit 0";

#[derive(Debug)]
struct ExternalPerl {
    file: OsString,
    arguments: [OsString; 4],
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let file = match options.take("checkcommand").map(|given| given.text) {
        None => return Ok(never("there is no checkcommand to run")),
        Some(file) if file.is_empty() || file.contains(&0) => {
            return Ok(never("checkcommand names no file"));
        }
        Some(file) => OsString::from_vec(file),
    };
    Ok(Check::Ask(Arc::new(ExternalPerl { file, arguments: arguments(target) })))
}

impl Probe for ExternalPerl {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            call.enter(Phase::Run);
            self.readable().await?;
            let mut all: Vec<OsString> = vec!["-e".into(), RUN.into(), "--".into(), self.file.clone()];
            all.extend(self.arguments.iter().cloned());
            let perl = Program { name: "perl".as_ref(), arguments: &all, environment: &[] };
            verdict(perl.run(call).await?)
        })
    }

    fn identity(&self) -> String {
        format!("external-perl {:?} {:?}", self.file, self.arguments)
    }
}

impl ExternalPerl {
    /// Perl says nothing that could be told apart from the script's own status.
    async fn readable(&self) -> Result<(), Failure> {
        let file = self.file.display();
        let found = tokio::fs::metadata(&self.file).await;
        let is_file = match found {
            Ok(found) => found.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_run(format!("{file}: not found")));
            }
            Err(error) => return Err(dial::fault(Phase::Run, file, &error)),
        };
        if !is_file {
            return Err(not_run(format!("{file}: not a file")));
        }
        let opened = tokio::fs::File::open(&self.file).await;
        opened.map(drop).map_err(|_| not_run(format!("{file}: not readable")))
    }
}
