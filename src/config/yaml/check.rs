//! `check`: the kind of check, its options, its times. Pure.

use std::time::Duration;

use crate::config::Kinds;
use crate::config::diagnostic::Faults;
use crate::config::draft::{CheckDraft, Pair, Said};
use crate::config::suggest::closest;
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::{Item, shown};
use crate::config::yaml::names::{has_body, name_of};
use crate::config::yaml::node::Value;
use crate::probe::options::{Given, Options};
use crate::probe::{KINDS, Kind};
use crate::span::{Fault, Span};

/// What `check` says beside the kind.
const NAMES: [&str; 7] = ["interval", "timeout", "connect_timeout", "fall", "rise", "port", "connects"];

/// From start to start, where nothing else is said.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// For one attempt, where nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// What is said of checks; nothing inherited, no default.
#[derive(Debug, Clone, Default)]
pub struct CheckSettings {
    /// The kind with its options.
    kind: Option<Asked>,
    /// From start to start.
    interval: Option<Said<Duration>>,
    /// For one attempt.
    timeout: Option<Said<Duration>>,
    /// For one attempt of those that only connect.
    connect_timeout: Option<Said<Duration>>,
    /// Bad results in a row that take a server down.
    pub fall: Option<Said<u32>>,
    /// Good results in a row that bring it up.
    pub rise: Option<Said<u32>>,
    /// The port to ask.
    port: Option<Said<u16>>,
    /// So many checks that only connect follow each good one.
    connects: Option<Said<u32>>,
    /// Whether something in it was refused: what is missing then is not told.
    pub unclear: bool,
}

/// A kind with its options.
#[derive(Debug, Clone)]
struct Asked {
    kind: &'static Kind,
    span: Span,
    options: Options,
}

impl CheckSettings {
    /// Reads the value of `check`: the name of a kind, or a mapping with it.
    pub fn read(item: &Item, kinds: Kinds, faults: &mut Faults) -> CheckSettings {
        let known: Vec<&'static str> =
            KINDS.iter().map(|kind| kind.name).filter(|name| kinds(name).is_some()).collect();
        let mut settings = CheckSettings::default();
        if let Value::Text(word) = &item.node.value {
            settings.kind = faults.keep(named(item, word, kinds, &known));
            settings.unclear = settings.kind.is_none();
            return settings;
        }
        let names: Vec<&'static str> = known.iter().copied().chain(["none"]).chain(NAMES).collect();
        let Some(fields) = Fields::read(item.node, "`check`", &names, faults) else {
            return CheckSettings { unclear: true, ..settings };
        };
        settings.unclear = matches!(&item.node.value, Value::Map(all) if all.len() != fields.iter().count());
        for item in fields.iter().filter(|item| !NAMES.contains(&item.name)) {
            if settings.kind.is_some() {
                let fault = Fault::error(item.span(), format!("a second kind of check: `{}`", item.name));
                faults.push(fault.help("a service has one; `connects: N` adds checks that only connect"));
                continue;
            }
            let Some(kind) = kinds(if item.name == "none" { "on" } else { item.name }) else { continue };
            let options = options(&item, kind, faults);
            settings.kind = Some(Asked { kind, span: item.span(), options });
        }
        settings.interval = fields.take("interval", faults, Item::time);
        settings.timeout = fields.take("timeout", faults, Item::time);
        settings.connect_timeout = fields.take("connect_timeout", faults, Item::time);
        settings.fall = fields.take("fall", faults, |item| item.number(1, u32::MAX));
        settings.rise = fields.take("rise", faults, |item| item.number(1, u32::MAX));
        settings.port = fields.take("port", faults, |item| item.port(1));
        settings.connects = fields.take("connects", faults, |item| item.number(1, u32::MAX));
        settings
    }

    /// These, and where they are silent, the others. A kind comes with its own options only.
    pub fn or(self, other: &CheckSettings) -> CheckSettings {
        CheckSettings {
            kind: self.kind.or_else(|| other.kind.clone()),
            interval: self.interval.or_else(|| other.interval.clone()),
            timeout: self.timeout.or_else(|| other.timeout.clone()),
            connect_timeout: self.connect_timeout.or_else(|| other.connect_timeout.clone()),
            fall: self.fall.or_else(|| other.fall.clone()),
            rise: self.rise.or_else(|| other.rise.clone()),
            port: self.port.or_else(|| other.port.clone()),
            connects: self.connects.or_else(|| other.connects.clone()),
            unclear: self.unclear || other.unclear,
        }
    }

    /// With every default filled in; an error when no kind is said.
    pub fn draft(&self, service: &Span) -> Result<CheckDraft, Fault> {
        let asked = self.kind.as_ref().ok_or_else(|| {
            Fault::error(service.clone(), "how the servers are checked is not said")
                .help("for instance check: { http: { path: /health } }, check: connect, or check: on for servers that are never checked")
        })?;
        Ok(CheckDraft {
            kind: Said::at(asked.kind.name, asked.span.clone()),
            connects: self.connects.clone(),
            cause: asked.kind.name.into(),
            standard_port: asked.kind.port.unwrap_or(0),
            options: asked.options.clone(),
            port: self.port.clone(),
            interval: self.interval.clone().unwrap_or(Said::default(INTERVAL)),
            timeout: self.timeout.clone().unwrap_or(Said::default(TIMEOUT)),
            connect_timeout: self.connect_timeout.clone().unwrap_or(Said::default(TIMEOUT)),
        })
    }

    /// What one server is asked, other than the rest: `request` and `receive` by their names here.
    pub fn pair(&self, item: &Item, faults: &mut Faults) -> Option<Pair> {
        let Asked { kind, options: service, .. } = self.kind.as_ref()?;
        let own = ["request", "receive"].into_iter().filter(|option| kind.options.contains(option));
        let names: Vec<&'static str> = own.filter_map(|option| name_of(option, kind.name)).collect();
        let fields = Fields::read(item.node, "the check of one server", &names, faults)?;
        let mut options = Options::default();
        give(&fields, kind, &mut options, faults);
        let mut service = service.clone();
        let mut pick = |option| options.take(option).or_else(|| service.take(option));
        let receive = pick("receive").unwrap_or(Given { text: Vec::new(), span: item.span() });
        let missing = || {
            let name = name_of("request", kind.name).unwrap_or("request");
            Fault::error(item.span(), format!("`{name}` is missing, here and in the service"))
                .help("say what this server is asked for")
        };
        let request = faults.keep(pick("request").ok_or_else(missing))?;
        Some(Pair { request, receive })
    }
}

/// A kind without options.
fn named(item: &Item, word: &str, kinds: Kinds, known: &[&'static str]) -> Result<Asked, Fault> {
    let name = if word == "none" { "on" } else { word };
    let kind = kinds(name).filter(|kind| known.contains(&kind.name)).ok_or_else(|| {
        let allowed = format!("one of {}; on and none mean up, off down, without a check", known.join(", "));
        let meant = match word {
            "true" | "yes" => Some("on"),
            "false" | "no" => Some("off"),
            _ => closest(word, known.iter().copied()),
        };
        let help = meant.map_or(allowed.clone(), |meant| format!("did you mean `{meant}`? {allowed}"));
        Fault::error(item.span(), format!("there is no check named {}", shown(word))).help(help)
    })?;
    Ok(Asked { kind, span: item.span(), options: Options::default() })
}

/// The options of a kind; nothing at all is none.
fn options(item: &Item, kind: &'static Kind, faults: &mut Faults) -> Options {
    let mut options = Options::default();
    if item.node.value == Value::Null {
        return options;
    }
    let names: Vec<&'static str> =
        kind.options.iter().filter_map(|option| name_of(option, kind.name)).collect();
    if let Some(fields) = Fields::read(item.node, &format!("`{}`", kind.name), &names, faults) {
        give(&fields, kind, &mut options, faults);
    }
    options
}

fn give(fields: &Fields, kind: &Kind, options: &mut Options, faults: &mut Faults) {
    for option in kind.options {
        let Some(item) = name_of(option, kind.name).and_then(|name| fields.get(name)) else { continue };
        let item = match (*option, &item.node.value) {
            ("receive", Value::Map(_)) if has_body(kind.name) => match body(&item, faults) {
                Some(body) => body,
                None => continue,
            },
            _ => item,
        };
        if let Some(text) = faults.keep(item.bytes()) {
            options.give(option, text, item.span());
        }
    }
}

/// The pattern within `expect: { status, body }`; none when only a status is expected.
fn body<'n>(item: &Item<'n>, faults: &mut Faults) -> Option<Item<'n>> {
    if matches!(&item.node.value, Value::Map(all) if all.iter().any(|(name, _)| name.text == "bytes")) {
        return Some(*item);
    }
    let fields = Fields::read(item.node, "`expect`", &["status", "body"], faults)?;
    if let Some(status) = fields.get("status")
        && faults.keep(status.text()).is_some_and(|text| text != "200-299")
    {
        let fault = status.refuse("200-299", "other statuses can not be chosen yet: leave it out");
        faults.push(fault);
    }
    fields.get("body")
}
