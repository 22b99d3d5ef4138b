//! `oracle`: a query to an Oracle database has a first row.
//!
//! Asked by the check command `oracle` that comes with lvsentry, with Oracle's `sqlplus`: there is
//! no other client that could be part of this program. Login, password, database and query are in
//! the command's environment, not among its arguments, which everybody on this host can read.
//! `checks/README.md` names both, and the exit statuses.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::never::never;
use super::options::Options;
use super::process::{Program, arguments, exit, not_run, verdict};
use super::secret::Secret;
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "oracle",
    doc: "a query to an Oracle database has a first row (through sqlplus)",
    port: Some(1521),
    options: &["request", "login", "passwd", "database"],
    make: |target, options| make(folders(), target, options),
};

/// The check command.
const COMMAND: &str = "oracle";
/// Where check commands are installed.
const FOLDER: &str = "/usr/lib/lvsentry/checks";
/// Names a folder that is looked into first.
const VARIABLE: &str = "LVSENTRY_CHECKS";

#[derive(Debug)]
struct Oracle {
    folders: Vec<PathBuf>,
    arguments: [OsString; 4],
    login: OsString,
    passwd: Secret,
    database: OsString,
    request: OsString,
}

fn folders() -> Vec<PathBuf> {
    std::env::var_os(VARIABLE).into_iter().chain([FOLDER.into()]).map(PathBuf::from).collect()
}

/// Makes the check with a check command from one of these folders, the first that has it.
pub fn make(folders: Vec<PathBuf>, target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let mut text = |name| options.take(name).map(|given| given.text).unwrap_or_default();
    let (login, database, request) = (text("login"), text("database"), text("request"));
    let passwd = Secret::take(options, "passwd");
    if login.is_empty() || request.is_empty() {
        return Ok(never("oracle needs a login and a request (an SQL query)"));
    }
    let all = [&login, &database, &request, passwd.bytes()];
    if all.iter().any(|text| text.iter().any(|b| b.is_ascii_control() && *b != b'\t')) {
        return Ok(never("login, passwd, database and request may hold no control characters"));
    }
    let asked = Target { server: target.check, ..*target };
    let [login, database, request] = [login, database, request].map(OsString::from_vec);
    let arguments = arguments(&asked);
    Ok(Check::Ask(Arc::new(Oracle { folders, arguments, login, passwd, database, request })))
}

impl Probe for Oracle {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            call.enter(Phase::Run);
            let command = self.command().await?;
            let passwd = OsString::from_vec(self.passwd.bytes().to_vec());
            let environment = [
                ("LVSENTRY_LOGIN", self.login.clone()),
                ("LVSENTRY_PASSWD", passwd),
                ("LVSENTRY_DATABASE", self.database.clone()),
                ("LVSENTRY_REQUEST", self.request.clone()),
            ];
            let program =
                Program { name: command.as_os_str(), arguments: &self.arguments, environment: &environment };
            judge(program.run(call).await?)
        })
    }

    fn identity(&self) -> String {
        let Oracle { folders: _, arguments, login, passwd, database, request } = self;
        format!("oracle {arguments:?} {login:?} {passwd:?} {database:?} {request:?}")
    }
}

impl Oracle {
    async fn command(&self) -> Result<PathBuf, Failure> {
        for folder in &self.folders {
            let path = folder.join(COMMAND);
            if tokio::fs::metadata(&path).await.is_ok_and(|found| found.is_file()) {
                return Ok(path);
            }
        }
        let last = self.folders.last().map_or(Path::new(FOLDER), PathBuf::as_path);
        Err(not_run(format!("{}: not found", last.join(COMMAND).display())))
    }
}

/// What the check command's exit status means.
fn judge(status: u8) -> Result<String, Failure> {
    match status {
        0 => Ok("a first row".to_owned()),
        1 => Err(Failure::new(Phase::Run, Reason::Mismatch, "the query has no row")),
        3 => Err(exit("the database cannot be reached, or refuses login or query".to_owned())),
        127 => Err(not_run("sqlplus not found: install Oracle's client, in PATH".to_owned())),
        other => verdict(other),
    }
}
