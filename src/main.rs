//! argv to exit code, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(containerd_registry_migrate::cli::run(std::env::args_os()))
}
