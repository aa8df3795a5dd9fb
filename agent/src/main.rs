//! The program `kitelet`: hands the command line to [`kitelet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kitelet::cli::main()
}
