//! Hands a mail to the local sendmail, whichever mail server it comes with.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::lane::Trouble;
use super::letter::Letter;
use super::one_line;

/// Where it is when it is not on the path.
const USUAL: [&str; 2] = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];

/// The exit status of a failure that may pass (sysexits.h: `EX_TEMPFAIL`).
const LATER: i32 = 75;

/// How much is kept of what the program complains, in bytes.
const SAID: u64 = 4096;

/// Sends a mail with `program`, or the one that is found. It reads the recipients from the mail (`-t`), so
/// that local names and aliases work. Dropping the future ends the program.
pub(super) async fn send(program: Option<&Path>, letter: &Letter) -> Result<(), Trouble> {
    let found = program.map(Path::to_owned).or_else(|| find(std::env::var_os("PATH").as_deref()));
    let Some(program) = found else {
        let usual = USUAL[0];
        return Err(Trouble::lasting(format!(
            "not found, neither on the path nor as {usual}: install a mail server, or name one with smtp="
        )));
    };
    let mut command = Command::new(&program);
    command.args(["-i", "-t"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| not_run(&program, &error))?;
    let (input, complaints) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(mut input) = input {
            // One that ends early says why with its status.
            let _ = input.write_all(&letter.text).await;
        }
    };
    let hear = async {
        let mut said = Vec::new();
        if let Some(complaints) = complaints {
            let _ = complaints.take(SAID).read_to_end(&mut said).await;
        }
        said
    };
    let ((), said, ended) = tokio::join!(feed, hear, child.wait());
    let ended = ended.map_err(|error| not_run(&program, &error))?;
    if ended.success() {
        return Ok(());
    }
    let how = match (ended.code(), ended.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    };
    let said = one_line(&String::from_utf8_lossy(&said));
    let colon = if said.is_empty() { "" } else { ": " };
    let why = format!("{}: {how}{colon}{said}", program.display());
    Err(Trouble { why, passing: ended.code() == Some(LATER) })
}

fn not_run(program: &Path, error: &io::Error) -> Trouble {
    Trouble::lasting(format!("{}: {error}", program.display()))
}

/// The first on this path, else where it usually is.
fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    let named = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join("sendmail"));
    named.chain(USUAL.map(PathBuf::from)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sendmail_on_the_path_is_taken() {
        let folder = std::env::temp_dir().join(format!("lvsentry-sendmail-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("sendmail"), "").unwrap();
        let path = std::env::join_paths([Path::new("/nonexistent"), Path::new("."), &folder]).unwrap();
        assert_eq!(find(Some(&path)), Some(folder.join("sendmail")));
        std::fs::remove_dir_all(&folder).unwrap();
        let usual = USUAL.map(PathBuf::from).into_iter().find(|program| program.is_file());
        assert_eq!(find(Some(&path)), usual);
        assert_eq!(find(None), usual);
    }
}
