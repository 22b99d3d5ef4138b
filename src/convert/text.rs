//! Texts as YAML writes them. Pure.

/// A text as one scalar, quoted where it must be or where another reader of YAML could take it for
/// something else.
pub fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '@' | '+' | '-');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let word = text.to_ascii_lowercase();
    let special =
        matches!(word.as_str(), "null" | "yes" | "no" | "on" | "off" | "true" | "false" | "y" | "n");
    if begins && !special && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let printable = |c: char| c == ' ' || (!c.is_control() && !c.is_whitespace() && !is_odd(c));
    if text.contains(['\\', '"']) && text.chars().all(printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    quoted(text.chars())
}

/// Bytes as a text, or where they are none as `{ bytes: "…" }`, each character a byte.
pub fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => scalar(text),
        Err(_) => format!("{{ bytes: {} }}", quoted(bytes.iter().map(|&b| char::from(b)))),
    }
}

/// A text as a comment: one line, without what a reader could take for the end of it.
pub fn comment(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c == '\t' || c.is_control() || is_odd(c) { ' ' } else { c }).collect();
    format!("# {clean}").trim_end().to_owned()
}

/// Line ends and marks of Unicode, and what YAML does not take unescaped.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn quoted(text: impl Iterator<Item = char>) -> String {
    let mut out = String::from("\"");
    for c in text {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' ' => out.push(' '),
            c if !c.is_control() && !c.is_whitespace() && !is_odd(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::node::{Value, parse};
    use crate::span::Source;

    #[test]
    fn what_is_written_is_read_again() {
        let every: String =
            (0..0x300u32).chain([0x2028, 0xfeff, 0xfffe, 0x1f600]).filter_map(char::from_u32).collect();
        let texts = [
            "",
            "a",
            "yes",
            "~",
            "- x",
            "a: b",
            "a #b",
            "'",
            "\"",
            "\\d+ 'x'",
            "[",
            "#",
            " a ",
            "10.0.0.1:80",
            &every,
            "a\nb",
        ];
        for text in texts {
            let yaml =
                format!("a: {}\nb: [{}, x]\nc: {{ d: {} }}\n", scalar(text), scalar(text), scalar(text));
            let node =
                parse(&Source::new("t", yaml.as_bytes())).unwrap_or_else(|fault| panic!("{yaml}: {fault:?}"));
            let Value::Map(entries) = node.value else { panic!("{yaml}") };
            assert_eq!(entries[0].1.value, Value::Text(text.to_owned()), "{yaml}");
        }
    }
}
