//! What `kitelet --version` prints: enough to find the very source that a
//! binary on a forgotten device was made from.

/// Program, version, target, flavour and commit. In one piece, so that
/// `strings` finds it in a binary that does not run where it lies.
pub(super) const LINE: &str =
    concat!("kitelet ", env!("CARGO_PKG_VERSION"), " (", env!("KITELET_BUILD"), ")");

#[cfg(test)]
mod tests {
    use super::LINE;

    #[test]
    fn version_and_target_are_named() {
        assert!(LINE.starts_with(&format!("kitelet {} (", env!("CARGO_PKG_VERSION"))), "{LINE}");
        assert!(LINE.contains(std::env::consts::ARCH), "{LINE}");
        assert!(!LINE.contains('\n'), "{LINE}");
    }
}
