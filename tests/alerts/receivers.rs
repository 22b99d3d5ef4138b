//! Mail servers and the local sendmail, well and ill.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lvsentry::alert::Limits;
use lvsentry::config::{Extras, Mail};
use tokio::time::Instant;

use super::{SECOND, alert, alerts, always, mail, quick, until};
use crate::support::log::Log;
use crate::support::mail::{Fail, MailServer, STEPS, Step};
use crate::support::skip;

const FAILED: &str = "ERROR failed to send SMTP email message";

// ---- recipients -----------------------------------------------------------------------------------

#[tokio::test]
async fn each_recipient_of_a_list_is_named_by_itself_and_the_header_stays_as_written() {
    let (post, log) = (MailServer::start().await, Log::catch());
    let list = r#"a@example.org, "Doe, J." <b@example.org>,root"#;
    let mut alerts = alerts(quick());
    alerts.send(alert(2, &mail(list, post.at)));
    let taken = post.take(1).await.remove(0);
    assert_eq!(taken.to, ["a@example.org", "b@example.org", "root"]);
    assert_eq!(taken.header("To").as_deref(), Some(list));
    assert_eq!(taken.header("From").as_deref(), Some("lvs@example.org"));
    assert_eq!(taken.header("Date").as_deref(), Some("Sat, 21 Nov 2026 07:43:03 +0000"));
    let host = taken.body().lines().next().unwrap().strip_prefix("ldirectord host: ").unwrap().to_owned();
    assert!(taken.from.ends_with(&format!("@{host}")) && !taken.from.starts_with('@'), "{}", taken.from);
    assert_eq!(log.count("INFO emailalert: Deleted real server: 10.0.0.2:80 (192.0.2.1:80)"), 1);
    // Without emailalertfrom the header has the sender.
    let mut plain = mail("a@example.org", post.at);
    plain.mail.as_mut().unwrap().from = None;
    alerts.send(alert(3, &plain));
    let taken = post.take(1).await.remove(0);
    assert_eq!(taken.header("From"), Some(taken.from));
    alerts.finish().await;
}

#[tokio::test]
async fn a_refused_recipient_is_told_and_takes_the_mail_from_nobody_else() {
    let (post, log) = (MailServer::start().await, Log::catch());
    post.refuse("b@example.org", "550 5.1.1 no such user");
    let mut alerts = alerts(quick());
    alerts.send(alert(2, &mail("a@example.org, b@example.org, nonsense here, c@example.org", post.at)));
    assert_eq!(post.take(1).await[0].to, ["a@example.org", "c@example.org"]);
    until("it is told", || log.text(), || log.count(FAILED) == 1).await;
    assert_eq!(log.count("recipient b@example.org: permanent error (550): 5.1.1 no such user"), 1);
    assert_eq!(log.count("'nonsense here' is no address"), 1);
    alerts.finish().await;
    assert_eq!((post.connections(), post.mails().len()), (1, 0), "what lasts is not tried again");
}

#[tokio::test]
async fn a_recipient_that_is_to_come_back_later_gets_the_mail_later_and_nobody_gets_it_twice() {
    let (post, log) = (MailServer::start().await, Log::catch());
    post.refuse("b@example.org", "450 4.7.1 greylisted");
    let mut alerts = alerts(Limits { mail_again: vec![SECOND / 2], ..quick() });
    alerts.send(alert(2, &mail("a@example.org,b@example.org", post.at)));
    let first = post.take(1).await.remove(0);
    assert_eq!(first.to, ["a@example.org"]);
    post.refuse_nobody();
    let second = post.take(1).await.remove(0);
    assert_eq!(second.to, ["b@example.org"]);
    assert_eq!(second.text, first.text, "it is the same mail, Message-ID and all");
    alerts.finish().await;
    assert_eq!(log.count("failed"), 0, "{}", log.text());
}

// ---- ill mail servers -------------------------------------------------------------------------------

#[tokio::test]
async fn a_server_that_fails_for_a_moment_at_any_step_gets_the_mail_with_the_second_try() {
    for step in STEPS {
        for fail in [Fail::Hang, Fail::Close, Fail::Answer("421 4.3.2 not now"), Fail::Flood] {
            let (post, log) = (MailServer::start().await, Log::catch());
            post.fail_once(step, fail);
            let mut alerts = alerts(quick());
            alerts.send(alert(2, &mail("ops@example.org", post.at)));
            let mut mails = post.take(1).await;
            alerts.finish().await;
            mails.append(&mut post.mails());
            assert_eq!((mails.len(), post.connections()), (1, 2), "{step:?} {fail:?}: {}", log.text());
            assert_eq!(log.count("failed"), 0, "{step:?} {fail:?}: {}", log.text());
        }
    }
}

#[tokio::test]
async fn a_server_that_refuses_for_good_is_told_with_its_reason_and_not_asked_again() {
    for step in STEPS {
        let (post, log) = (MailServer::start().await, Log::catch());
        post.fail(Some((step, Fail::Answer("554 5.7.1 go away"))));
        let mut alerts = alerts(quick());
        alerts.send(alert(2, &mail("ops@example.org", post.at)));
        alerts.finish().await;
        assert_eq!((log.count(FAILED), post.connections()), (1, 1), "{step:?}: {}", log.text());
        let why = log.text().lines().find(|line| line.contains("(554): 5.7.1 go away")).map(String::from);
        assert!(why.is_some_and(|why| why.contains("mail server 127.0.0.1:")), "{step:?}: {}", log.text());
        assert!(post.mails().is_empty());
    }
}

#[tokio::test]
async fn a_server_that_stays_ill_costs_each_mail_one_try_and_gets_the_next_when_it_is_well() {
    let (post, log) = (MailServer::start().await, Log::catch());
    post.fail(Some((Step::Greeting, Fail::Close)));
    let mut alerts = alerts(quick());
    for n in 1..=3 {
        alerts.send(alert(n, &mail("ops", post.at)));
    }
    until("all are told", || log.text(), || log.count(FAILED) == 3).await;
    assert_eq!(post.connections(), 2 + 1 + 1);
    post.fail(None);
    alerts.send(alert(4, &mail("ops", post.at)));
    assert!(post.take(1).await[0].subject().contains("10.0.0.4"));
    // Well again, it is worth two tries.
    post.fail_once(Step::Greeting, Fail::Close);
    alerts.send(alert(5, &mail("ops", post.at)));
    assert!(post.take(1).await[0].subject().contains("10.0.0.5"));
    alerts.finish().await;
    assert_eq!(log.count(FAILED), 3);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let log = Log::catch();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut alerts = alerts(quick());
    alerts.send(alert(2, &mail("ops", nobody)));
    alerts.finish().await;
    assert_eq!(log.count(FAILED), 1);
    assert_eq!(log.count("cannot connect: Connection refused"), 1, "{}", log.text());
}

#[tokio::test]
async fn a_queue_that_is_full_loses_the_newest_and_says_so_once() {
    let (post, log) = (MailServer::start().await, Log::catch());
    let mut alerts = alerts(quick());
    for n in 1..=30 {
        alerts.send(alert(n, &mail("ops", post.at)));
    }
    assert_eq!(log.count("are lost"), 1, "{}", log.text());
    assert_eq!(log.count("alerts for mail server 127.0.0.1:"), 1, "{}", log.text());
    let mails = post.take(8).await;
    let first =
        |mails: &[crate::support::mail::Taken]| mails.iter().all(|mail| !mail.subject().contains("10.0.0.9"));
    assert!(mails.len() == 8 && first(&mails), "the oldest are kept");
    alerts.send(alert(31, &mail("ops", post.at)));
    assert!(post.take(1).await[0].subject().contains("10.0.0.31"));
    assert_eq!(log.text().matches("22 alerts for mail server").count(), 1, "{}", log.text());
    alerts.finish().await;
    assert_eq!(log.count("lost"), 2, "{}", log.text());
}

#[tokio::test]
async fn an_alert_that_is_too_old_is_not_sent() {
    let (post, log) = (MailServer::start().await, Log::catch());
    let mut alerts = alerts(quick());
    let mut old = alert(2, &mail("ops", post.at));
    old.expires = Instant::now() - SECOND;
    alerts.send(old);
    alerts.send(alert(3, &mail("ops", post.at)));
    assert!(post.take(1).await[0].subject().contains("10.0.0.3"));
    alerts.finish().await;
    assert_eq!((log.count(FAILED), log.count("too old")), (1, 1), "{}", log.text());
    assert_eq!(post.connections(), 1);
}

#[tokio::test]
async fn at_the_end_what_waits_is_sent_and_a_server_that_hangs_gets_no_more_than_its_time() {
    let (well, ill, log) = (MailServer::start().await, MailServer::start().await, Log::catch());
    ill.fail(Some((Step::Data, Fail::Hang)));
    let mut alerts = alerts(Limits { step: SECOND * 60, mail: SECOND * 60, ..quick() });
    for n in 1..=5 {
        alerts.send(alert(n, &mail("ops", ill.at)));
        alerts.send(alert(n, &mail("ops", well.at)));
    }
    let begun = Instant::now();
    alerts.finish().await;
    assert!(begun.elapsed() < SECOND * 5, "{:?}", begun.elapsed());
    assert_eq!(well.mails().len(), 5);
    assert_eq!(log.count("are lost: it did not take them before the end"), 1, "{}", log.text());
}

// ---- sendmail ---------------------------------------------------------------------------------------

/// A folder that vanishes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lvsentry-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// A sendmail that does this, with its folder in `$D`.
    fn sendmail(&self, script: &str) -> PathBuf {
        let path = self.0.join("sendmail");
        let text = format!("#!/bin/sh\nD='{}'\n{script}\n", self.0.display());
        // Another process writes it: one that a test of ours forks meanwhile would keep it busy.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn local(to: &str) -> Extras {
    Extras { mail: Some(Mail { to: to.into(), from: None, smtp: None }), ..always() }
}

fn through(program: &Path) -> Limits {
    Limits { sendmail: Some(program.to_owned()), finish: SECOND * 10, ..quick() }
}

#[tokio::test]
async fn without_a_mail_server_the_local_sendmail_gets_the_mail_and_reads_the_recipients_from_it() {
    let (folder, log) = (Folder::new("sendmail-well"), Log::catch());
    let program = folder.sendmail("echo \"$@\" > $D/arguments; cat > $D/mail");
    let mut alerts = alerts(through(&program));
    alerts.send(alert(2, &local("root, ops@example.org")));
    alerts.finish().await;
    assert_eq!(folder.read("arguments"), "-i -t\n");
    let mail = folder.read("mail");
    let subject = "To: root, ops@example.org\r\nSubject: Deleted real server: 10.0.0.2:80 (192.0.2.1:80)\r\n";
    assert!(mail.starts_with(subject), "{mail}");
    assert!(mail.ends_with("\r\nDaemon-Status: running\r\n\r\n"), "{mail}");
    assert_eq!((log.count("emailalert: "), log.count("failed")), (1, 0), "{}", log.text());
}

#[tokio::test]
async fn a_sendmail_that_fails_is_told_with_what_it_says_and_one_that_asks_for_time_is_run_again() {
    let (folder, log) = (Folder::new("sendmail-ill"), Log::catch());
    let program = folder.sendmail("echo once >> $D/runs; echo 'no\nqueue' >&2; exit 71");
    let mut alerts = super::alerts(through(&program));
    alerts.send(alert(2, &local("root")));
    alerts.finish().await;
    assert_eq!(log.count("ERROR failed to send email message"), 1, "{}", log.text());
    assert_eq!(log.count("exit status 71: no queue"), 1, "{}", log.text());
    assert_eq!(folder.read("runs"), "once\n");
    folder.sendmail("cat > $D/mail; echo again >> $D/runs; test $(grep -c again $D/runs) -gt 1 || exit 75");
    let mut alerts = super::alerts(through(&program));
    alerts.send(alert(3, &local("root")));
    until("it ran twice", || folder.read("runs"), || folder.read("runs") == "once\nagain\nagain\n").await;
    alerts.finish().await;
    assert_eq!(log.count("ERROR failed"), 1, "{}", log.text());
    assert!(folder.read("mail").contains("10.0.0.3:80"));
}

#[tokio::test]
async fn a_sendmail_that_hangs_is_ended_and_one_that_is_missing_is_told() {
    let (folder, log) = (Folder::new("sendmail-hang"), Log::catch());
    let program = folder.sendmail("echo $$ > $D/pid; exec sleep 1000");
    let mut alerts = super::alerts(Limits { mail: SECOND / 2, mail_again: vec![], ..through(&program) });
    alerts.send(alert(2, &local("root")));
    alerts.finish().await;
    assert_eq!(log.count("sendmail: not done within 0.5 s"), 1, "{}", log.text());
    let alive = || Path::new("/proc").join(folder.read("pid").trim()).join("exe").exists();
    until("it is gone", || folder.read("pid"), || !alive()).await;
    let mut alerts = super::alerts(through(Path::new("/nonexistent/sendmail")));
    alerts.send(alert(2, &local("root")));
    alerts.finish().await;
    assert_eq!(log.count("/nonexistent/sendmail: No such file"), 1, "{}", log.text());
}

// ---- a mail server of somebody else's -------------------------------------------------------------

#[tokio::test]
async fn pythons_mail_server_takes_our_mail() {
    let free: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let known =
        Command::new("python3").args(["-W", "ignore", "-c", "import smtpd"]).stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        return skip("there is no python3 with smtpd");
    }
    let folder = Folder::new("python");
    let out = std::fs::File::create(folder.0.join("out")).unwrap();
    let mut server = Command::new("python3")
        .args(["-u", "-W", "ignore", "-m", "smtpd", "-n", "-d", "-c", "DebuggingServer", &free.to_string()])
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let listens = || std::net::TcpStream::connect_timeout(&free, Duration::from_millis(100)).is_ok();
    until("it listens", String::new, listens).await;
    let mut alerts = alerts(Limits { step: SECOND * 5, mail: SECOND * 10, ..quick() });
    let extras = Extras { comment: Some("größer".into()), ..mail("a@example.org, b@example.org", free) };
    alerts.send(alert(2, &extras));
    let out = || folder.read("out");
    until("it took the mail", out, || out().contains("MESSAGE FOLLOWS") && out().contains("END MESSAGE"))
        .await;
    server.kill().unwrap();
    server.wait().unwrap();
    for part in ["Subject: Deleted real server: 10.0.0.2:80 (192.0.2.1:80)", "Comment: gr=C3=B6=C3=9Fer"] {
        assert!(out().contains(part), "{part}:\n{}", out());
    }
}
