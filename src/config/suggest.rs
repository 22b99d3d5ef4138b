//! "Did you mean …?" Pure.

/// The candidate that `word` is most likely a misspelling of, if one is near enough: at most one
/// slip in three characters.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no directive, and the work grows with the square of the length.
    if word.len() > 40 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let allowed = (word.len() / 3).max(1);
    let scored = candidates.into_iter().map(|known| (distance(&word, &known.to_ascii_lowercase()), known));
    scored.filter(|(slips, _)| *slips <= allowed).min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// How many letters must be added, left out, changed or swapped with their neighbour to get from
/// one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut older = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let change = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = change.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(older[j - 1] + 1);
            }
        }
        older = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_a_slip_and_upper_case_are_near() {
        let known = ["quiescent", "checktype", "checkport", "request"];
        assert_eq!(closest("quiecsent", known), Some("quiescent"));
        assert_eq!(closest("chektype", known), Some("checktype"));
        assert_eq!(closest("Request", known), Some("request"));
    }

    #[test]
    fn a_strange_word_is_near_to_nothing() {
        assert_eq!(closest("banana", ["quiescent", "checktype"]), None);
        assert_eq!(closest(&"x".repeat(10_000), ["quiescent"]), None);
    }
}
