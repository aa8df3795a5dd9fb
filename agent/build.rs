//! Tells the program what it is built as: nothing in the standard library knows
//! the triple of the target.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=KITELET_COMMIT");
    let target = env::var("TARGET").unwrap_or_default();
    let flavour = match env::var_os("CARGO_FEATURE_RELAY") {
        Some(_) => "",
        None => ", agent only",
    };
    // `cross/build` names it; whoever builds by hand knows the source.
    let commit = match env::var("KITELET_COMMIT") {
        Ok(commit) if !commit.is_empty() => format!("commit {commit}"),
        _ => "development build".to_owned(),
    };
    println!("cargo::rustc-env=KITELET_BUILD={target}{flavour}, {commit}");
}
