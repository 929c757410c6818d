//! What is made from the program itself.

use anyhow::Context;
use clap::CommandFactory;

use super::arguments::{Cli, Generate};
use super::{exit, manual, print, print_json};
use crate::schema;

pub(super) fn generate(what: &Generate) -> anyhow::Result<u8> {
    match what {
        Generate::Man { directory } => manual::write(Cli::command(), directory)?,
        Generate::Completions { shell } => print(&completions(*shell)?),
        Generate::Schema => print_json(&schema::schema())?,
    }
    Ok(exit::DONE)
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<String> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).context("the completion script is not text")
}
