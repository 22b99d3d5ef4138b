//! What a mail says: headers, body, recipients. Pure.

use std::time::SystemTime;

use lettre::message::SinglePart;
use lettre::message::header::{Date, HeaderName, HeaderValue, Headers};

use super::{Alert, one_line};
use crate::config::{Mail, State};

/// Who we are, to mail servers and in mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Us {
    /// The user that the daemon runs as.
    pub(super) user: String,
    /// This machine's name.
    pub(super) host: String,
}

/// A mail, ready to be sent.
#[derive(Debug)]
pub(super) struct Letter {
    /// Headers and body, with CR LF, all ASCII.
    pub(super) text: Vec<u8>,
    /// The addresses that it is still to reach.
    pub(super) to: Vec<String>,
}

/// Lines up to this length are sent in one piece: RFC 5322, section 2.1.1 allows 998 with the name.
const UNFOLDED: usize = 900;

impl Letter {
    /// The mail for an alert. `sender` goes into From where the configuration names none; without it
    /// the header is left to the program that takes the mail. `number` tells this mail from all others
    /// of this process.
    pub(super) fn new(alert: &Alert, mail: &Mail, us: &Us, sender: Option<&str>, number: u64) -> Letter {
        let extras = &alert.extras;
        let (name, comment) = (extras.name.as_deref().map(one_line), extras.comment.as_deref().map(one_line));
        let prefix = name.as_ref().map(|name| format!("[{name}] ")).unwrap_or_default();
        let subject = format!("{prefix}{}", one_line(&alert.message));
        let mut headers = Headers::new();
        if let Some(from) = mail.from.as_deref().or(sender) {
            headers.insert_raw(header(HeaderName::new_from_ascii_str("From"), from));
        }
        headers.insert_raw(header(HeaderName::new_from_ascii_str("To"), &mail.to));
        headers.insert_raw(header(HeaderName::new_from_ascii_str("Subject"), &subject));
        headers.set(Date::new(SystemTime::from(alert.time)));
        let id = format!("<{}.{}.{number}@{}>", alert.time.as_nanosecond(), std::process::id(), us.host);
        headers.insert_raw(header(HeaderName::new_from_ascii_str("Message-ID"), &id));
        // RFC 3834: nobody's absence is answered to it.
        headers.insert_raw(header(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated"));
        headers.insert_raw(header(HeaderName::new_from_ascii_str("MIME-Version"), "1.0"));
        let body = body(us, &subject, alert.state, name.as_deref(), comment.as_deref());
        let body = SinglePart::plain(body);
        let mut text = format!("{headers}{}\r\n", body.headers()).into_bytes();
        text.extend(body.raw_body());
        Letter { text, to: recipients(&mail.to) }
    }
}

fn header(name: HeaderName, value: &str) -> HeaderValue {
    let value = one_line(value);
    if value.len() <= UNFOLDED && value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value)
    } else {
        HeaderValue::new(name, value)
    }
}

fn body(us: &Us, subject: &str, state: State, name: Option<&str>, comment: Option<&str>) -> String {
    let mut body = format!(
        "ldirectord host: {}\r\nLog-Message: {subject}\r\nDaemon-Status: {}\r\n\r\n",
        us.host,
        status(state)
    );
    if let Some(name) = name {
        body += &format!("Service name: {name}\r\n");
    }
    if let Some(comment) = comment {
        body += &format!("Comment: {comment}\r\n");
    }
    if name.is_some() || comment.is_some() {
        body += "\r\n";
    }
    body
}

/// What the daemon is doing, in the words of `emailalertstatus`.
pub(super) fn status(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Reloading => "reloading",
    }
}

/// The addresses of a list as people write it: `a@example.org, "Doe, J." <b@example.org>, root`.
fn recipients(list: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut quoted, mut escaped, mut begin) = (false, false, 0);
    for (at, c) in list.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                all.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    all.push(&list[begin..]);
    let address = |one: &&str| match (one.rfind('<'), one.rfind('>')) {
        (Some(open), Some(close)) if open < close => one[open + 1..close].trim().to_owned(),
        _ => one.trim().to_owned(),
    };
    let mut addresses: Vec<String> = Vec::new();
    for one in all.iter().map(address).filter(|address| !address.is_empty()) {
        if !addresses.contains(&one) {
            addresses.push(one);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::Extras;
    use crate::model::{Protocol, ServiceKey};

    fn us() -> Us {
        Us { user: "root".into(), host: "lvs1.example.org".into() }
    }

    /// The mail as text; `Date` and `Message-ID` are checked and cut out.
    #[allow(clippy::disallowed_methods)]
    fn text(extras: Extras, sender: Option<&str>) -> String {
        let mail = extras.mail.clone().unwrap();
        let alert = Alert {
            event: "server-deleted",
            message: "Deleted real server: 10.9.0.2:80 (192.0.2.10:80)".into(),
            service: Some(ServiceKey::Address(Protocol::Tcp, ([192, 0, 2, 10], 80).into())),
            server: Some(([10, 9, 0, 2], 80).into()),
            weight: None,
            state: State::Running,
            extras: Arc::new(extras),
            time: "2026-11-21T07:43:03.5Z".parse().unwrap(),
            expires: tokio::time::Instant::now() + Duration::from_secs(60),
        };
        let letter = Letter::new(&alert, &mail, &us(), sender, 7);
        let text = String::from_utf8(letter.text).unwrap();
        let date = "Date: Sat, 21 Nov 2026 07:43:03 +0000\r\n";
        let id = format!("Message-ID: <1795246983500000000.{}.7@lvs1.example.org>\r\n", std::process::id());
        let same = "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n";
        let tail = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n";
        assert!(text.contains(date) && text.contains(&id) && text.contains(same), "{text}");
        [date, &id, same, tail].iter().fold(text.clone(), |text, part| text.replace(part, ""))
    }

    fn mail(to: &str, from: Option<&str>) -> Extras {
        let mail = Mail { to: to.into(), from: from.map(String::from), smtp: None };
        Extras { mail: Some(mail), ..Extras::default() }
    }

    #[test]
    fn a_mail_has_ldirectords_headers_and_body() {
        let extras = Extras {
            name: Some("web".into()),
            comment: Some("the shop".into()),
            ..mail("ops@example.org, b@example.org", Some("LVS <lvs@example.org>"))
        };
        assert_eq!(
            text(extras, None),
            "From: LVS <lvs@example.org>\r\n\
             To: ops@example.org, b@example.org\r\n\
             Subject: [web] Deleted real server: 10.9.0.2:80 (192.0.2.10:80)\r\n\
             \r\n\
             ldirectord host: lvs1.example.org\r\n\
             Log-Message: [web] Deleted real server: 10.9.0.2:80 (192.0.2.10:80)\r\n\
             Daemon-Status: running\r\n\
             \r\n\
             Service name: web\r\n\
             Comment: the shop\r\n\
             \r\n"
        );
    }

    #[test]
    fn without_a_name_there_is_no_prefix_and_without_a_sender_no_from() {
        let lines = text(mail("ops", None), None);
        assert!(lines.starts_with("To: ops\r\nSubject: Deleted real"), "{lines}");
        assert!(lines.ends_with("\r\nDaemon-Status: running\r\n\r\n"), "{lines}");
        let lines = text(mail("ops", None), Some("root@lvs1.example.org"));
        assert!(lines.starts_with("From: root@lvs1.example.org\r\nTo: ops\r\n"), "{lines}");
    }

    #[test]
    fn nothing_in_the_configuration_makes_a_header_or_a_line_of_its_own() {
        let extras = Extras {
            name: Some("web\r\nBcc: x@example.org".into()),
            comment: Some("a\nDaemon-Status: stopping\r\n.\r\nQUIT".into()),
            ..mail("ops@example.org\r\nBcc: x@example.org", Some("a\nb\0@example.org"))
        };
        let text = text(extras, None);
        let starts = |start: &str| text.lines().any(|line| line.starts_with(start));
        assert!(!starts("Bcc") && !starts("Daemon-Status: stopping") && !starts("."), "{text}");
        assert!(text.contains("From: a b @example.org\r\n"), "{text}");
    }

    #[test]
    fn other_alphabets_are_encoded_and_the_mail_stays_ascii() {
        let extras =
            Extras {
                name: Some("Büro 東京".into()), comment: Some("größer".into()), ..mail("ops", None)
            };
        let text = text(extras, None);
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("Subject: =?utf-8?b?"), "{text}");
        assert!(text.contains("Comment: gr=C3=B6=C3=9Fer"), "{text}");
    }

    #[test]
    fn a_long_line_is_folded_and_no_text_grows_without_bound() {
        let extras = Extras { name: Some("x".repeat(1 << 20)), ..mail("ops", None) };
        let text = text(extras, None);
        assert!(text.len() < 20_000, "{} bytes", text.len());
        assert!(text.lines().skip(3).all(|line| line.len() <= 998 || !line.contains(' ')));
    }

    #[test]
    fn a_list_of_recipients_is_split_at_its_commas() {
        let split = |list| recipients(list).join(" ");
        assert_eq!(split("a@example.org"), "a@example.org");
        assert_eq!(
            split("a@example.org, b@example.org,c@example.org"),
            "a@example.org b@example.org c@example.org"
        );
        assert_eq!(split("root,, a@example.org,a@example.org,"), "root a@example.org");
        assert_eq!(
            split(r#""Doe, \"J\"" <j@example.org>, O <o@example.org>"#),
            "j@example.org o@example.org"
        );
        assert_eq!(split(" , "), "");
    }
}
