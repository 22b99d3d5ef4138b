//! `lvs: { sysctl: { NAME: VALUE } }`: kernel parameters below `net.ipv4.vs`. Pure.

use crate::config::diagnostic::Faults;
use crate::config::draft::Said;
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::Item;
use crate::span::Fault;

/// Every parameter that IPVS has or had, in some kernel.
pub const NAMES: [&str; 34] = [
    "am_droprate",
    "amemthresh",
    "backup_only",
    "cache_bypass",
    "conn_lfactor",
    "conn_reuse_mode",
    "conntrack",
    "debug_level",
    "drop_entry",
    "drop_packet",
    "est_cpulist",
    "est_nice",
    "expire_nodest_conn",
    "expire_quiescent_template",
    "ignore_tunneled",
    "lblc_expiration",
    "lblcr_expiration",
    "nat_icmp_send",
    "pmtu_disc",
    "run_estimation",
    "schedule_icmp",
    "secure_tcp",
    "sloppy_sctp",
    "sloppy_tcp",
    "snat_reroute",
    "svc_lfactor",
    "sync_persist_mode",
    "sync_ports",
    "sync_qlen_max",
    "sync_refresh_period",
    "sync_retries",
    "sync_sock_size",
    "sync_threshold",
    "sync_version",
];

/// Longest value: a list of processors.
const LONGEST: usize = 200;

/// Reads `lvs`.
pub fn read(item: &Item, faults: &mut Faults) -> Vec<(&'static str, Said<String>)> {
    let Some(lvs) = Fields::read(item.node, "`lvs`", &["sysctl"], faults) else { return Vec::new() };
    let Some(item) = lvs.get("sysctl") else { return Vec::new() };
    let Some(fields) = Fields::read(item.node, "`sysctl`", &NAMES, faults) else { return Vec::new() };
    let named = NAMES.iter().filter_map(|name| Some((*name, fields.take(name, faults, value)?)));
    named.collect()
}

/// Numbers, most often one.
fn value(item: &Item) -> Result<Said<String>, Fault> {
    let said = item.line()?;
    let text = said.value.trim();
    let is_value = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b" ,-".contains(&b))
        && text.len() <= LONGEST;
    let wrong = || item.refuse("a number", "as `sysctl -w` takes it: 1, or \"3 50\" where there are two");
    if is_value { Ok(Said { value: text.to_owned(), span: said.span }) } else { Err(wrong()) }
}
