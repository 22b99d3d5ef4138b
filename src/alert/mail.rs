//! Alerts as mail: to a mail server (`smtp=`), or to the local sendmail.

use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{User, gethostname, getuid};
use tokio::task::spawn_blocking;
use tracing::error;

use super::lane::{Receiver, Trouble};
use super::letter::{Letter, Us};
use super::smtp::Smtp;
use super::{Alert, Limits, sendmail};

/// Sends mail one way.
#[derive(Debug)]
pub(super) struct Mailer {
    /// The mail server; without one the local sendmail.
    smtp: Option<Smtp>,
    limits: Arc<Limits>,
    /// Looked up when the first mail is written.
    us: Option<Us>,
    /// Mails written so far.
    count: u64,
}

impl Mailer {
    /// Sends through this mail server, `host` or `host:port`, or through the local sendmail.
    pub(super) fn new(server: Option<&str>, limits: Arc<Limits>) -> Mailer {
        let smtp = server.map(|server| Smtp::new(server, limits.step));
        Mailer { smtp, limits, us: None, count: 0 }
    }
}

impl Receiver for Mailer {
    type Parcel = (Letter, Us);

    fn name(&self) -> String {
        match &self.smtp {
            Some(smtp) => format!("mail server {}", smtp.name()),
            None => "sendmail".to_owned(),
        }
    }

    fn waits(&self) -> Vec<Duration> {
        self.limits.mail_again.clone()
    }

    async fn pack(&mut self, alert: &Alert) -> (Letter, Us) {
        let us = match &self.us {
            Some(us) => us.clone(),
            // Asking for a user's name can wait for another host.
            None => spawn_blocking(us).await.unwrap_or_else(|_| nobody()),
        };
        self.us = Some(us.clone());
        self.count += 1;
        let sender = self.smtp.as_ref().map(|_| format!("{}@{}", us.user, us.host));
        let letter = match &alert.extras.mail {
            Some(mail) => Letter::new(alert, mail, &us, sender.as_deref(), self.count),
            None => Letter { text: Vec::new(), to: Vec::new() },
        };
        (letter, us)
    }

    async fn deliver(&mut self, (letter, us): &mut (Letter, Us)) -> Result<(), Trouble> {
        let limit = self.limits.mail;
        let sent = async {
            match &self.smtp {
                Some(smtp) => smtp.send(letter, us).await,
                None => sendmail::send(self.limits.sendmail.as_deref(), letter).await,
            }
        };
        let late = |_| Err(Trouble::passing(format!("not done within {} s", limit.as_secs_f64())));
        tokio::time::timeout(limit, sent).await.unwrap_or_else(late)
    }

    fn failed(&self, why: &str) {
        // The first line is ldirectord's; why stands in a line of its own.
        match &self.smtp {
            Some(smtp) => {
                error!(id = "mail-failed", "failed to send SMTP email message");
                error!(id = "mail-failed-why", "mail server {}: {why}", smtp.name());
            }
            None => {
                error!(id = "mail-failed", "failed to send email message");
                error!(id = "mail-failed-why", "sendmail: {why}");
            }
        }
    }
}

/// This machine's name.
pub(super) fn host() -> String {
    let name = gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !name.is_empty() && name.chars().all(fine) { name } else { "localhost".to_owned() }
}

/// Who we are. Blocks.
fn us() -> Us {
    let user = User::from_uid(getuid()).ok().flatten().map(|user| user.name);
    let fine = |name: &String| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && !"<>@\"".contains(c))
    };
    Us { user: user.filter(fine).unwrap_or_else(|| format!("uid{}", getuid())), host: host() }
}

fn nobody() -> Us {
    Us { user: "lvsentry".into(), host: host() }
}
