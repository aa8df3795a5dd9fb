//! "Did you mean": the known word that is nearest to a mistyped one.

/// Longest word that is compared; nothing we know is longer.
const MAX_WORD_BYTES: usize = 32;

/// The word of `known` that takes the fewest typing mistakes to become `word`,
/// if that is few enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > MAX_WORD_BYTES {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let most = (word.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(word.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(mistakes, _)| *mistakes <= most)
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, candidate)| candidate)
}

/// Insertions, removals, replacements and swaps of neighbours that lead from
/// one word to the other (the optimal string alignment distance).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &byte) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in right.iter().enumerate() {
            let mut best = (above[column] + usize::from(byte != other))
                .min(above[column + 1] + 1)
                .min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && byte == right[column - 1] && left[row - 1] == other;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["frontend", "frontends", "kitesecret", "nossl"];

    #[test]
    fn finds_what_was_meant() {
        for (typed, meant) in [
            ("frotnend", "frontend"),
            ("kite-secret", "kitesecret"),
            ("KiteSecrt", "kitesecret"),
            ("nosll", "nossl"),
        ] {
            assert_eq!(nearest(typed, KNOWN), Some(meant), "{typed}");
        }
    }

    #[test]
    fn does_not_guess_wildly() {
        for typed in ["", "x", "listen", "0123456789abcdef", &"n".repeat(10_000)] {
            assert_eq!(nearest(typed, KNOWN), None, "{typed}");
        }
    }
}
