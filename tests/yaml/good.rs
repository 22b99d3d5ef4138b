//! What accepted texts mean.

use std::time::Duration;

use lvsentry::config::role::{OnDemote, Role, RoleHooks, ServiceHooks};
use lvsentry::config::workers::Workers;
use lvsentry::config::{Config, LogTarget, load_with};
use lvsentry::model::{ByHand, FailOpen, Forward, Hold, OnFailure, Removal, Service, Watch};
use lvsentry::probe;
use lvsentry::span::Source;

use crate::config::fake::FakeNames;
use crate::support::probe::said;

fn accept(text: &str) -> Config {
    let source = Source::new("test.yaml", text.as_bytes());
    load_with(source, &FakeNames::default(), probe::kind).unwrap_or_else(|report| panic!("{report}")).config
}

fn services(text: &str) -> Vec<Service> {
    accept(text).plan.services.values().map(|service| Service::clone(service)).collect()
}

/// The language in one look, as the design has it.
const SHOP: &str = r#"
defaults:
  check: { interval: 2s, timeout: 1s, fall: 3, rise: 2 }
services:
  - name: shop
    listen: ["192.0.2.10:80/tcp", "[2001:db8::10]:80/tcp"]
    scheduler: wrr
    forward: gate
    persistent: 10m
    check: { http: { path: /health, host: shop.example, expect: { status: 200-299, body: "ok" } } }
    on_failure: remove
    servers: []
    fallback: ["127.0.0.1:8080", "[::1]:8080"]
  - fwmark: 7
    forward: gate
    check: { https: { path: /health }, port: 443 }
    servers:
      - { address: 10.0.0.11, weight: 100 }
      - { address: 10.0.0.12, weight: 100, forward: ipip }
      - 10.0.0.13-10.0.0.15
      - web1
alerts:
  - { mail: { to: [ops@example.org, boss@example.org] } }
  - { webhook: { url: "https://hooks.example.org/lvs" } }
"#;

#[test]
fn several_addresses_are_several_services_that_share_the_rest() {
    let services = services(SHOP);
    let ids: Vec<String> = services.iter().map(|service| service.key.id()).collect();
    assert_eq!(ids, ["tcp:192.0.2.10:80", "tcp:[2001:db8::10]:80", "fwm:7"]);
    for service in &services[..2] {
        assert_eq!(service.settings.persistence.map(|p| p.seconds), Some(600));
        assert_eq!((service.policy.fall, service.policy.rise), (3, 2));
    }
    let fallback =
        |at: usize| services[at].policy.fallbacks.first().map(|f| (f.entry.to_string(), f.forward));
    // Another port than the service's needs translation.
    assert_eq!(fallback(0), Some(("127.0.0.1:8080".into(), Forward::Masq)));
    assert_eq!(fallback(1), Some(("[::1]:8080".into(), Forward::Masq)));
}

#[test]
fn servers_take_over_what_they_do_not_say() {
    let services = services(SHOP);
    let servers = &services[2].servers;
    let seen: Vec<_> = servers.iter().map(|s| (s.address.to_string(), s.weight.get(), s.forward)).collect();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[0], ("10.0.0.11:0".into(), 100, Forward::Gate));
    assert_eq!(seen[1], ("10.0.0.12:0".into(), 100, Forward::Ipip));
    assert_eq!(seen[4], ("10.0.0.15:0".into(), 1, Forward::Gate));
    assert_eq!(seen[5], ("10.50.0.1:0".into(), 1, Forward::Gate));
}

#[test]
fn checks_have_the_times_of_defaults_and_alerts_are_for_all() {
    let config = accept(SHOP);
    assert!(
        config
            .inquiries
            .values()
            .all(|i| i.interval == Duration::from_secs(2) && i.timeout == Duration::from_secs(1))
    );
    assert_eq!(config.extras.len(), 3);
    for extras in config.extras.values() {
        assert_eq!(
            extras.mail.as_ref().map(|mail| mail.to.as_str()),
            Some("ops@example.org,boss@example.org")
        );
        assert_eq!(extras.webhooks[0].url, "https://hooks.example.org/lvs");
        assert_eq!(extras.alert_in.len(), 4);
    }
}

#[test]
fn what_is_not_said_has_the_defaults_of_yaml() {
    let text = "services: [{ listen: '192.0.2.1:80', forward: masq, check: connect, servers: [10.0.0.1] }]\n";
    let config = accept(text);
    let service = config.plan.services.values().next().unwrap();
    let policy = &service.policy;
    assert_eq!(
        (policy.on_failure, policy.by_hand, policy.clean_stop),
        (OnFailure::Remove, ByHand::Repair, false)
    );
    assert_eq!((policy.fall, policy.rise, policy.fallbacks.is_empty()), (1, 1, true));
    assert_eq!(service.settings.scheduler, "wrr");
    assert_eq!(service.servers[0].address.to_string(), "10.0.0.1:80");
    let inquiry = config.inquiries.values().next().unwrap();
    assert_eq!((inquiry.interval, inquiry.timeout), (Duration::from_secs(10), Duration::from_secs(5)));
}

#[test]
fn a_service_comes_before_defaults_setting_by_setting() {
    let text = "
defaults: { forward: masq, persistent: 5m, check: { connect: {}, interval: 3s, fall: 2 } }
services:
  - { listen: '192.0.2.1:80', check: { interval: 7s }, persistent: off, servers: [10.0.0.1] }
";
    let config = accept(text);
    let service = config.plan.services.values().next().unwrap();
    assert_eq!((service.policy.fall, service.settings.persistence), (2, None));
    assert_eq!(config.inquiries.values().next().unwrap().interval, Duration::from_secs(7));
}

#[test]
fn anchors_and_merge_keys_repeat_a_value() {
    let text = "
services:
  - &first { listen: '192.0.2.1:80', forward: masq, check: connect, servers: [10.0.0.1] }
  - { <<: *first, listen: '192.0.2.2:80' }
";
    assert_eq!(services(text).len(), 2);
}

#[test]
fn bytes_that_are_no_utf8_can_be_said() {
    let text = "
log: { file: { bytes: \"/var/log/gr\\xfc\\xdfe\" } }
services: []
";
    let LogTarget::File(path) = accept(text).log else { panic!("a file") };
    assert_eq!(path.as_os_str().as_encoded_bytes(), b"/var/log/gr\xfc\xdfe");
}

#[test]
fn a_role_is_a_word_or_follows_a_file_or_an_address() {
    let role = |text: &str| accept(&format!("services: []\n{text}")).role;
    assert_eq!(role(""), Role::Active);
    assert_eq!(role("role: active"), Role::Active);
    assert_eq!(role("role: standby"), Role::Standby);
    assert_eq!(role("role: { file: /run/active }"), Role::File("/run/active".into()));
    assert_eq!(role("role: { address: 192.0.2.10 }"), Role::Address("192.0.2.10".parse().unwrap()));
    assert_eq!(role("role: { address: '2001:db8::a' }"), Role::Address("2001:db8::a".parse().unwrap()));
    let demoted = |text: &str| accept(&format!("services: []\n{text}")).on_demote;
    assert_eq!(demoted(""), OnDemote::Leave);
    assert_eq!(demoted("on_demote: leave"), OnDemote::Leave);
    assert_eq!(demoted("on_demote: remove"), OnDemote::Remove);
}

#[test]
fn workers_are_a_number_or_follow_the_checks() {
    let workers = |text: &str| accept(&format!("services: []\n{text}")).workers;
    assert_eq!(workers(""), Workers::Some(1));
    assert_eq!(workers("workers: 4"), Workers::Some(4));
    assert_eq!(workers("workers: auto"), Workers::Auto);
}

#[test]
fn a_hook_of_a_service_comes_before_that_of_defaults_and_an_empty_one_is_none() {
    let text = "
hooks: { promote: 'echo \"$LVSENTRY_REASON\"' }
defaults: { forward: masq, check: connect, hooks: { up: /bin/up, down: /bin/down } }
services:
  - { listen: '192.0.2.1:80', servers: [10.0.0.1] }
  - { listen: '192.0.2.2:80', servers: [10.0.0.1], name: two, hooks: { down: '', fallback: /bin/last } }
  - { listen: '192.0.2.3:80', servers: [10.0.0.1], hooks: { up: '', down: '' } }
";
    let config = accept(text);
    let promote = Some("echo \"$LVSENTRY_REASON\"".into());
    assert_eq!(config.hooks, RoleHooks { promote, demote: None });
    let extras: Vec<_> = config.extras.iter().map(|(key, extras)| (key.id(), extras.as_ref())).collect();
    let (up, down) = (Some("/bin/up".to_owned()), Some("/bin/down".to_owned()));
    assert_eq!(extras.len(), 2, "the third runs nothing");
    assert_eq!(extras[0].1.hooks, ServiceHooks { up: up.clone(), down, fallback: None });
    assert_eq!(extras[1].1.hooks, ServiceHooks { up, down: None, fallback: Some("/bin/last".into()) });
    assert_eq!(extras[1].1.name.as_deref(), Some("two"));
}

#[test]
fn the_sample_in_the_readme_loads() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```yaml\n").expect("a sample");
    let (sample, _) = rest.split_once("```").expect("its end");
    assert_eq!(services(sample)[0].servers.len(), 2);
}

#[test]
fn how_servers_leave_and_come_back_is_said_once_for_all_or_for_each_service() {
    let config = accept(
        r#"
defaults:
  check: connect
  forward: masq
  drain: 1m
  hold: { falls: 3, within: 5m, time: 10m }
  slow_start: 30s
  fail_open: keep_last
services:
  - listen: "192.0.2.1:80"
    servers: [10.0.0.1]
    fallback:
      - { address: "10.0.0.9:80", check: { interval: 1s } }
      - { address: "10.0.0.8:80", check: { http: {}, port: 8080 } }
      - "127.0.0.1:80"
  - listen: "192.0.2.2:80"
    servers: [10.0.0.1]
    drain: off
    hold: off
    slow_start: off
    fail_open: off
"#,
    );
    let services: Vec<_> = config.plan.services.values().collect();
    let policy = &services[0].policy;
    let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
    assert_eq!(policy.removal, Removal::Drain(minute));
    assert_eq!(policy.hold, Some(Hold { falls: 3, within: 5 * minute, time: 10 * minute }));
    assert_eq!((policy.slow_start, policy.fail_open), (Some(30 * second), FailOpen::KeepLast));
    let probe = |at: usize| match &policy.fallbacks[at].watch {
        Watch::Probe(key) => said(&config, key),
        watch => format!("{watch:?}"),
    };
    // What a fallback's check does not say is as for servers.
    assert_eq!(probe(0), "connect 5s 1s connect 10.0.0.9:80");
    assert!(probe(1).starts_with("http 5s 10s http GET \"http://10.0.0.8:8080/\""), "{}", probe(1));
    assert_eq!(probe(2), "On");
    let off = &services[1].policy;
    assert_eq!((off.removal, off.hold, off.slow_start), (Removal::AsFailed, None, None));
    assert_eq!(off.fail_open, FailOpen::No);
}

#[test]
fn what_is_taken_out_on_purpose_is_drained_where_nothing_is_said() {
    let text = "services: [{ listen: \"192.0.2.1:80\", forward: masq, check: connect, servers: [10.0.0.1] }]";
    assert_eq!(services(text)[0].policy.removal, Removal::Drain(Duration::from_secs(300)));
}

#[test]
fn what_defaults_say_of_failed_servers_is_not_for_udp() {
    let text = r#"
defaults: { check: connect, forward: masq, on_failure: quiesce }
services:
  - { listen: ["192.0.2.1:53/udp", "192.0.2.1:53/tcp"], servers: ["10.0.0.1:53"] }
  - { listen: ["192.0.2.2:53/udp"], servers: ["10.0.0.1:53"], on_failure: quiesce }
"#;
    let services = services(text);
    let on_failure = |id: &str| {
        services.iter().find(|service| service.key.id() == id).map(|service| service.policy.on_failure)
    };
    assert_eq!(on_failure("udp:192.0.2.1:53"), Some(OnFailure::Remove));
    assert_eq!(on_failure("tcp:192.0.2.1:53"), Some(OnFailure::Quiesce));
    assert_eq!(on_failure("udp:192.0.2.2:53"), Some(OnFailure::Quiesce), "it says so itself");
}

#[test]
fn kernel_parameters_are_kept_as_the_kernel_takes_them() {
    let text = "lvs: { sysctl: { expire_nodest_conn: 1, sync_threshold: \"3 50\" } }\nservices: []\n";
    let sysctls = accept(text).sysctls;
    assert_eq!(sysctls, [("expire_nodest_conn", "1".into()), ("sync_threshold", "3 50".into())].into());
    assert!(accept("lvs: {}\nservices: []\n").sysctls.is_empty());
}
