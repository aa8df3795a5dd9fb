//! The program `kitelet`: hands the command line to [`kitelet::cli`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kitelet::cli::main()
}
