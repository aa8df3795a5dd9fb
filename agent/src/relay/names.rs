//! DNS names as kites and grants have them, and the wildcards above a name:
//! the one rule that who may fly and where a visitor goes have in common.

/// Whether the name is a wildcard, and the name without its `*.`.
pub(super) fn split(domain: &str) -> (bool, &str) {
    match domain.strip_prefix("*.") {
        Some(parent) => (true, parent),
        None => (false, domain),
    }
}

/// The names above `name`, the closest first, while two labels remain
/// (`protocol.md` 11): a wildcard of a whole top-level domain covers nothing.
pub(super) fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(above(name), |parent| above(parent))
}

fn above(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, parent)| parent).filter(|parent| parent.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_above_end_with_two_labels() {
        let above = |name| parents(name).collect::<Vec<_>>();
        assert_eq!(above("a.b.c.test"), ["b.c.test", "c.test"]);
        assert!(above("c.test").is_empty() && above("unknown").is_empty() && above("").is_empty());
        assert_eq!(split("*.a.test"), (true, "a.test"));
        assert_eq!(split("a.test"), (false, "a.test"));
    }
}
