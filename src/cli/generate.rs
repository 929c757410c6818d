//! What is made from the program itself.

use anyhow::Context;

use super::arguments::{Generate, definition};
use super::{Stop, exit, manual, output, show};
use crate::schema;

/// The result is the exit code.
pub(super) fn generate(what: &Generate) -> u8 {
    let text = match what {
        Generate::Man { directory } => manual::write(definition(), directory).map(|()| None),
        Generate::Completions { shell } => completions(*shell).map(Some),
        Generate::Schema => schema().map(Some),
    };
    match text {
        Ok(Some(text)) => show(&text),
        Ok(None) => exit::DONE,
        Err(error) => {
            let stop = Stop::from(error);
            output::error(&stop.failure.to_string());
            stop.exit_code
        }
    }
}

fn schema() -> anyhow::Result<String> {
    let mut text =
        serde_json::to_string_pretty(&schema::schema()).context("cannot write the schema")?;
    text.push('\n');
    Ok(text)
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<String> {
    let mut command = definition();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).context("the completion script is not text")
}
