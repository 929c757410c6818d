//! `summarize`: the reports of many nodes as one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::arguments::{Summarize, SummaryFormat};
use super::{Stop, choose, exit, output};
use crate::printable::printable_json;
use crate::report::fold::Detail;
use crate::summary::{self, Collector, Summary};

/// The result is the exit code.
pub(super) fn summarize(summarize: &Summarize) -> u8 {
    choose(summarize.color);
    let summary = read(&summarize.files);
    let printed = text(summarize, &summary).and_then(|text| match output::print(&text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot print the summary"),
    });
    match printed {
        Ok(()) => summary.exit_code,
        Err(error) => {
            output::error(&Stop::from(error).failure.to_string());
            exit::FAILED
        }
    }
}

fn read(files: &[OsString]) -> Summary {
    let mut collector = Collector::default();
    let mut progress = Progress::new(files);
    for file in files {
        let name = file.to_string_lossy();
        let read = |bytes, reports| progress.read(bytes, reports);
        let result = if file == "-" {
            collector.stream(&name, io::stdin().lock(), read)
        } else {
            File::open(file).and_then(|opened| collector.stream(&name, opened, read))
        };
        if let Err(error) = result {
            collector.unreadable(&name, &error);
        }
    }
    progress.finish();
    collector.finish()
}

fn text(summarize: &Summarize, summary: &Summary) -> anyhow::Result<String> {
    let detail = if summarize.all {
        Detail::All
    } else {
        Detail::Folded
    };
    if summarize.digests {
        let lines = summary.digests.iter().map(|digest| format!("{digest}\n"));
        return Ok(lines.collect());
    }
    Ok(match summarize.format {
        SummaryFormat::Text => summary::text(summary, detail),
        SummaryFormat::Markdown => summary::markdown(summary, detail),
        SummaryFormat::Json => {
            let text = serde_json::to_string_pretty(summary);
            printable_json(&text.context("cannot write the summary")?) + "\n"
        }
    })
}

/// How far it is, on a terminal.
struct Progress {
    /// When it was drawn last; `None` if nobody looks.
    drawn: Option<Instant>,
    /// The size of all files; standard input has none.
    total: u64,
    done: u64,
}

impl Progress {
    /// The time between two drawings.
    const INTERVAL: Duration = Duration::from_millis(100);
    /// The width of the bar.
    const WIDTH: u64 = 30;

    fn new(files: &[OsString]) -> Self {
        let sizes = files.iter().map(std::fs::metadata);
        let total = sizes.map(|file| file.map_or(0, |file| file.len())).sum();
        Self {
            drawn: io::stderr().is_terminal().then(Instant::now),
            total: if files.iter().any(|file| file == "-") {
                0
            } else {
                total
            },
            done: 0,
        }
    }

    fn read(&mut self, bytes: usize, reports: usize) {
        self.done += u64::try_from(bytes).unwrap_or_default();
        if self
            .drawn
            .is_none_or(|drawn| drawn.elapsed() < Self::INTERVAL)
        {
            return;
        }
        self.drawn = Some(Instant::now());
        let bar = match self.done.min(self.total) * Self::WIDTH / self.total.max(1) {
            _ if self.total == 0 => String::new(),
            filled => {
                let bar: String = (0..Self::WIDTH)
                    .map(|place| if place < filled { '#' } else { '.' })
                    .collect();
                format!("[{bar}] ")
            }
        };
        let mebibytes = self.done >> 20;
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r{bar}{reports} reports, {mebibytes} MiB\u{1b}[K");
        let _ = stderr.flush();
    }

    /// Leaves the line as it was.
    fn finish(&self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
