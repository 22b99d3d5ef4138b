//! What options of checks are called in YAML: one list for reading and for writing. Pure.

/// An option and its name in YAML.
#[derive(Debug)]
struct Row {
    /// Its name in [`crate::probe::options::Options`].
    option: &'static str,
    /// Its name here; empty for one that nobody writes.
    name: &'static str,
    /// The kinds for which that holds; empty for all that no row above names.
    kinds: &'static [&'static str],
}

const fn row(option: &'static str, name: &'static str, kinds: &'static [&'static str]) -> Row {
    Row { option, name, kinds }
}

/// The kinds that speak HTTP.
const WEB: &[&str] = &["http", "https"];
const SQL: &[&str] = &["mysql", "pgsql", "oracle"];

static ROWS: &[Row] = &[
    row("request", "path", WEB),
    row("request", "url", &["http_proxy"]),
    row("request", "query", SQL),
    row("request", "name", &["dns"]),
    row("request", "send", &["simpletcp"]),
    row("request", "file", &["ftp"]),
    row("request", "search", &["ldap", "ldaps"]),
    row("request_absolute", "", &[]),
    row("receive", "expect", &[]),
    row("virtualhost", "host", &[]),
    row("httpmethod", "method", &[]),
    row("checkcommand", "command", &[]),
    row("checkcount", "attempts", &[]),
    row("login", "user", &[]),
    row("passwd", "password", &[]),
];

/// What an option is called with that kind of check; none for one that nobody writes.
pub fn name_of(option: &'static str, kind: &str) -> Option<&'static str> {
    let row =
        ROWS.iter().find(|row| row.option == option && (row.kinds.is_empty() || row.kinds.contains(&kind)));
    match row {
        Some(row) if row.name.is_empty() => None,
        Some(row) => Some(row.name),
        None => Some(option),
    }
}

/// Whether the kind's answer has a status and a body.
pub fn has_body(kind: &str) -> bool {
    WEB.contains(&kind) || kind == "http_proxy"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::KINDS;

    #[test]
    fn no_kind_has_two_options_of_one_name() {
        for kind in KINDS {
            let mut names: Vec<_> =
                kind.options.iter().filter_map(|option| name_of(option, kind.name)).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all, "{}", kind.name);
        }
    }
}
