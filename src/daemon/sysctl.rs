//! IPVS's kernel parameters (`net.ipv4.vs`): what the configuration asks for is set, and what spoils what it
//! wants is told, each with the command that cures it.

use std::fs;
use std::io;
use std::path::Path;

use tracing::{error, info, warn};

use crate::config::Config;
use crate::model::{OnFailure, Plan, Service};

/// Where they are: of the network namespace of who looks, and only once IPVS is loaded.
const FOLDER: &str = "/proc/sys/net/ipv4/vs";

/// Sets what the configuration asks for, then tells what is doubtful. Blocks for a moment.
pub fn settle(config: &Config) {
    settle_in(Path::new(FOLDER), config);
}

fn settle_in(folder: &Path, config: &Config) {
    for (name, value) in &config.sysctls {
        match set(folder, name, value) {
            Ok(true) => info!(id = "sysctl-set", "net.ipv4.vs.{name} is set to {value}"),
            Ok(false) => {}
            Err(why) => error!(
                id = "sysctl-refused",
                "cannot set net.ipv4.vs.{name} to {value}: {why}; {}",
                cure(name, value, &why)
            ),
        }
    }
    for doubt in doubts(&config.plan, |name| get(folder, name)) {
        warn!(id = "sysctl", "{doubt}");
    }
}

/// Sets one; says whether it was another value.
fn set(folder: &Path, name: &str, value: &str) -> io::Result<bool> {
    let path = folder.join(name);
    if words(&fs::read_to_string(&path)?) == words(value) {
        return Ok(false);
    }
    // Never made anew: this is no file of ours.
    fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| {
        io::Write::write_all(&mut file, value.as_bytes())?;
        Ok(true)
    })
}

fn cure(name: &str, value: &str, why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::NotFound => {
            "this kernel has no such parameter, or IPVS is not loaded (modprobe ip_vs): remove it from `lvs`"
                .into()
        }
        io::ErrorKind::InvalidInput => "the kernel does not take that value: see `lvs` in the file".into(),
        _ => format!("as root: sysctl -w net.ipv4.vs.{name}=\"{value}\""),
    }
}

fn get(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned())
}

/// The kernel puts tabs between numbers.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A parameter that spoils something.
struct Doubt {
    name: &'static str,
    /// The value that does.
    bad: &'static str,
    /// For which services.
    of: fn(&Service) -> bool,
    /// What it does, of so many services.
    why: &'static str,
    /// The value that does not.
    good: &'static str,
}

const DOUBTS: [Doubt; 5] = [
    Doubt {
        name: "expire_nodest_conn",
        bad: "0",
        of: |service| service.policy.on_failure == OnFailure::Remove,
        why: "clients of a failed server that is removed hang until their own timeout",
        good: "1",
    },
    Doubt {
        name: "expire_quiescent_template",
        bad: "0",
        of: |service| {
            service.policy.on_failure == OnFailure::Quiesce && service.settings.persistence.is_some()
        },
        why: "persistent clients go on to a failed server that is only quiesced",
        good: "1",
    },
    Doubt {
        name: "conn_reuse_mode",
        bad: "0",
        of: |_| true,
        why: "a client that uses a port again goes to its old server, even one that has failed",
        good: "1",
    },
    Doubt {
        name: "backup_only",
        bad: "1",
        of: |_| true,
        why: "while a backup sync daemon runs here, no connection is given to any server",
        good: "0",
    },
    Doubt {
        name: "drop_packet",
        bad: "3",
        of: |_| true,
        why: "packets of clients are dropped all the time, which looks like failing servers",
        good: "0",
    },
];

/// What is doubtful with this plan, a line each. What can not be read is not told.
fn doubts(plan: &Plan, get: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let concerned = |doubt: &Doubt| plan.services.values().filter(|service| (doubt.of)(service)).count();
    let found = DOUBTS.iter().filter_map(|doubt| {
        let count = concerned(doubt);
        let is = get(doubt.name).filter(|value| count > 0 && value == doubt.bad)?;
        let Doubt { name, why, good, .. } = doubt;
        let services = if count == 1 { "1 service".into() } else { format!("{count} services") };
        Some(format!(
            "net.ipv4.vs.{name} is {is} ({services}): {why}; cure: sysctl -w net.ipv4.vs.{name}={good}"
        ))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load_text;
    use crate::config::names::SystemNames;
    use crate::span::Source;

    fn plan(global: &str, service: &str) -> Plan {
        let text = format!("{global}virtual=192.0.2.1:80\n\treal=10.0.0.1:80 masq\n{service}");
        let source = Source::new("x.cf", text.into_bytes());
        load_text(source, &SystemNames::new()).unwrap().config.plan
    }

    /// The parameters that are told, where the kernel has these values.
    fn told(plan: &Plan, values: &[(&str, &str)]) -> Vec<String> {
        let values: BTreeMap<&str, &str> = values.iter().copied().collect();
        let lines = doubts(plan, |name| values.get(name).map(|value| (*value).to_owned()));
        let name = |line: &String| line["net.ipv4.vs.".len()..].split(' ').next().unwrap().to_owned();
        lines.iter().map(name).collect()
    }

    const DEFAULTS: [(&str, &str); 5] = [
        ("expire_nodest_conn", "0"),
        ("expire_quiescent_template", "0"),
        ("conn_reuse_mode", "1"),
        ("backup_only", "0"),
        ("drop_packet", "0"),
    ];

    #[test]
    fn a_parameter_is_told_where_it_matters_only() {
        let (removes, quiesces) = (plan("", ""), plan("quiescent=yes\n", ""));
        let persists = plan("quiescent=yes\n", "\tpersistent=60\n");
        assert_eq!(told(&removes, &DEFAULTS), ["expire_nodest_conn"]);
        assert_eq!(told(&plan("", "\tpersistent=60\n"), &DEFAULTS), ["expire_nodest_conn"]);
        assert_eq!(told(&quiesces, &DEFAULTS), [""; 0]);
        assert_eq!(told(&persists, &DEFAULTS), ["expire_quiescent_template"]);
        let odd = [("conn_reuse_mode", "0"), ("backup_only", "1"), ("drop_packet", "3")];
        assert_eq!(told(&quiesces, &odd), ["conn_reuse_mode", "backup_only", "drop_packet"]);
        assert_eq!(told(&Plan::default(), &odd), [""; 0]);
        let set = [("expire_nodest_conn", "1"), ("expire_quiescent_template", "1"), ("conn_reuse_mode", "2")];
        assert_eq!(told(&removes, &set), [""; 0]);
        assert_eq!(told(&removes, &[]), [""; 0], "where there are none, nothing is said");
    }

    #[test]
    fn a_doubt_is_one_line_with_the_command_that_cures_it() {
        assert_eq!(
            doubts(&plan("", ""), |name| (name == "expire_nodest_conn").then(|| "0".into())),
            ["net.ipv4.vs.expire_nodest_conn is 0 (1 service): clients of a failed server that is removed \
              hang until their own timeout; cure: sysctl -w net.ipv4.vs.expire_nodest_conn=1"]
        );
    }

    #[test]
    fn what_is_asked_for_is_set_once_and_no_file_is_made() {
        let folder = std::env::temp_dir().join(format!("lvsentry-sysctl-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("sync_threshold"), "3\t50\n").unwrap();
        assert!(!set(&folder, "sync_threshold", "3 50").unwrap(), "it is so already");
        assert!(set(&folder, "sync_threshold", "4 50").unwrap());
        assert_eq!(get(&folder, "sync_threshold").unwrap(), "4 50\n".trim());
        let why = set(&folder, "expire_nodest_conn", "1").unwrap_err();
        assert!(cure("expire_nodest_conn", "1", &why).contains("modprobe ip_vs"));
        assert!(!folder.join("expire_nodest_conn").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
