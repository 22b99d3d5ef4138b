//! What addresses are called: one look-up each, through the system's own `getent`, which knows what this
//! host's resolver knows. A process can be ended at its deadline, a look-up in a thread can not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::News;
use crate::daemon::Event;

/// How long one look-up may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How long all of them may take together.
const WHOLE: Duration = Duration::from_secs(120);

/// How many go on at once.
const AT_ONCE: usize = 4;

/// Bytes that are read of an answer: longer than any name.
const ANSWER: u64 = 4096;

/// Looks up what these addresses are called and sends it, a few at a time. An address that has
/// no name, or could not be looked up, is left out.
pub async fn ask(program: OsString, ips: BTreeSet<IpAddr>, events: mpsc::Sender<Event>) {
    let (begun, whole) = (Instant::now(), ips.len());
    let mut ips = ips.into_iter();
    let mut done = 0;
    loop {
        let some: Vec<IpAddr> = ips.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return;
        }
        if begun.elapsed() > WHOLE {
            warn!(
                id = "maintenance-names",
                "names of servers, for maintenance files: {done} of {whole} were found out in {} s, the rest is left out",
                WHOLE.as_secs()
            );
            return;
        }
        let mut asked = JoinSet::new();
        for ip in some {
            let program = program.clone();
            asked.spawn(async move { (ip, timeout(LIMIT, name(&program, ip)).await) });
        }
        let mut names = BTreeMap::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((ip, Ok(Ok(name)))) => {
                    done += 1;
                    names.extend(name.map(|name| (ip, name)));
                }
                Ok((_, Ok(Err(why)))) => {
                    let program = program.display();
                    warn!(
                        id = "maintenance-names",
                        "names of servers, for maintenance files, cannot be looked up: {program}: {why}"
                    );
                    return;
                }
                // Too late, or the runtime ends.
                Ok((_, Err(_))) | Err(_) => {}
            }
        }
        if !names.is_empty() && events.send(Event::Maintenance(News::Named(names))).await.is_err() {
            return;
        }
    }
}

/// The name of an address. The process ends with the future.
async fn name(program: &OsString, ip: IpAddr) -> io::Result<Option<String>> {
    let mut command = Command::new(program);
    command.arg("hosts").arg(ip.to_string()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut answer = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(ANSWER).read_to_end(&mut answer).await?;
    }
    child.wait().await?;
    // `10.0.0.1        web1.example.org alias`
    let answer = String::from_utf8_lossy(&answer);
    let name = answer.split_whitespace().nth(1).map(str::to_owned);
    Ok(name.filter(|name| name.parse::<IpAddr>().is_err()))
}
