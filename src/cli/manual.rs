//! The manual pages: what `--help` says, and around it what a manual page has besides.

use std::io;
use std::path::Path;

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::read::DEFAULT_CERTS_DIRECTORY;
use crate::read::locate::CONFIG;
use crate::request::STATE_DIR;

/// Commands of the system administrator.
const SECTION: &str = "8";

/// No page has a date: the same program has the same pages. roff drops an empty argument.
const NO_DATE: &str = " ";

/// Writes one page for the program and one for each of its commands.
pub(super) fn write(program: Command, directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for (name, page) in pages(program)? {
        let path = directory.join(name);
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The name of each page, and its text.
fn pages(program: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = in_full(program.disable_help_subcommand(true));
    program.build();
    let mut pages = Vec::new();
    add(&program, None, &mut pages)?;
    Ok(pages)
}

/// With the options that `-h` leaves out: their pages would have nothing but the names.
fn in_full(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_short_help(false))
        .mut_subcommands(in_full)
}

fn add(
    command: &Command,
    parent: Option<&str>,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    pages.push((format!("{name}.{SECTION}"), page(command, parent)?));
    for subcommand in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        add(subcommand, Some(name), pages)?;
    }
    Ok(())
}

fn page(command: &Command, parent: Option<&str>) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .section(SECTION)
        .date(NO_DATE)
        .source(env!("CARGO_PKG_VERSION"))
        .manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    match parent {
        Some(parent) => {
            roff.control("SH", ["SEE ALSO"]);
            roff.text([bold(parent), roman(format!("({SECTION})"))]);
        }
        None => program_sections(command, &mut roff),
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// The exit codes, which the help lists after its options.
fn exit_status(program: &Command, roff: &mut Roff) {
    let help = program
        .get_after_long_help()
        .or_else(|| program.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let Some((_, codes)) = help.split_once("Exit codes:") else {
        return;
    };
    roff.control("SH", ["EXIT STATUS"]);
    for line in codes.trim().lines() {
        match line.trim().split_once("  ") {
            Some((code, meaning)) => {
                roff.control("TP", []);
                roff.text([bold(code)]);
                roff.text([roman(meaning)]);
            }
            None => {
                roff.text([roman(line.trim())]);
            }
        }
    }
}

/// What stands on the page of the program alone.
fn program_sections(program: &Command, roff: &mut Roff) {
    let name = program.get_name();
    exit_status(program, roff);
    roff.control("SH", ["FILES"]);
    let files = [
        (CONFIG, "The configuration of containerd."),
        (
            DEFAULT_CERTS_DIRECTORY,
            "Hosts files, one directory for each registry.",
        ),
        (
            STATE_DIR,
            "The journal of each run, which \"rollback\" reads. It holds the old files with their credentials.",
        ),
    ];
    for (path, meaning) in files {
        roff.control("TP", []);
        roff.text([italic(path)]);
        roff.text([roman(meaning)]);
    }
    roff.control("SH", ["EXAMPLES"]);
    let examples = [
        ("check", "Can this node be upgraded as it is?"),
        ("plan", "Show what would change, with its digest."),
        (
            "apply --expect DIGEST --restart",
            "Write the plan with this digest and no other, and restart containerd.",
        ),
        ("rollback --restart", "Put the old files back."),
    ];
    for (arguments, meaning) in examples {
        roff.control("TP", []);
        roff.text([bold(format!("{name} {arguments}"))]);
        roff.text([roman(meaning)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let commands = program.get_subcommands().filter(|c| !c.is_hide_set());
    let mut others: Vec<_> = commands
        .map(|command| command.get_display_name().unwrap_or(command.get_name()))
        .collect();
    others.push("containerd");
    for (number, other) in others.iter().enumerate() {
        let end = if number + 1 == others.len() { "" } else { "," };
        roff.text([bold(*other), roman(format!("({SECTION}){end}"))]);
    }
}
