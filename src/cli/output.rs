//! What is printed where: the report is one document on stdout, errors of operation, questions and progress are on
//! stderr.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::arguments::{Common, Format};
use crate::printable::printable_json;
use crate::report::fold::Detail;
use crate::report::{self, Outcome, Report};

/// Whether stdout was closed when the program began.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks before Rust's runtime does: in place of a closed stdout it opens /dev/null, and every report would count as
/// printed.
#[ctor::ctor]
fn look_at_stdout() {
    let is_closed = rustix::io::fcntl_getfd(io::stdout()).is_err();
    IS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// A document in two parts: what is known before anything on the node is changed, and what is known at the end.
struct Document {
    head: String,
    tail: String,
}

/// Prints the report of one command.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) format: Format,
    detail: Detail,
    /// Whether the command changes nothing, so that whoever closes the pipe has seen enough.
    only_reads: bool,
    /// The report of which the head is printed.
    begun: RefCell<Option<Report>>,
    /// What is to be said meanwhile, if the document is the place for it.
    notes: RefCell<Vec<String>>,
}

impl Output {
    pub(super) fn new(common: &Common, only_reads: bool) -> Self {
        Self {
            format: common.format,
            detail: common.detail(),
            only_reads,
            begun: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    /// Whether all that there is to say is in one document on stdout.
    pub(super) fn is_one_document(&self) -> bool {
        matches!(self.format, Format::Json | Format::Markdown)
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints what is known before anything is changed; an error if nobody can read it.
    pub(super) fn begin(&self, report: &Report) -> io::Result<()> {
        let mut report = report.clone();
        report.notes.extend_from_slice(&self.notes.borrow());
        self.print_head(&report)?;
        self.begun.replace(Some(report));
        Ok(())
    }

    fn print_head(&self, report: &Report) -> io::Result<()> {
        if self.format == Format::Diff {
            error(&report::text::preamble(report));
            if report.files.iter().any(|file| file.masked) {
                error("note: secrets are masked; this diff cannot be applied with patch\n");
            }
        }
        self.print(&self.head(report)?)
    }

    /// Prints the rest of the report, or all of it.
    pub(super) fn end(&self, mut report: Report) -> io::Result<()> {
        let begun = self.begun.borrow();
        // A report of another moment is another document.
        let begun = begun.as_ref().filter(|begun| begun.digest == report.digest);
        report.notes.append(&mut self.notes.borrow_mut());
        match begun {
            None => self.print_head(&report)?,
            Some(begun) if self.format == Format::Markdown => {
                report.notes.retain(|note| !begun.notes.contains(note));
            }
            Some(_) => {}
        }
        // Nothing is done, and nothing has failed.
        let is_only_shown =
            |begun: &Report| begun.outcome == report.outcome && report.outcome != Outcome::Changes;
        let tail = self.tail(&report)?;
        match self.format {
            // stdout is a diff and nothing else.
            Format::Diff => error(&tail),
            // Its first line says what came of it.
            Format::Markdown if begun.is_none_or(is_only_shown) => {}
            Format::Text | Format::Json | Format::Markdown => self.print(&tail)?,
        }
        Ok(())
    }

    /// The report of which the head is printed.
    pub(super) fn begun(&self) -> Option<Report> {
        self.begun.borrow().clone()
    }

    /// Adds a note to the report, before it is printed.
    pub(super) fn remark(&self, text: &str) {
        self.notes.borrow_mut().push(text.trim_end().to_owned());
    }

    /// Says something that is known only now, and that no report may lack.
    pub(super) fn note(&self, text: &str) {
        if self.is_one_document() {
            self.remark(text);
        } else {
            error(text);
        }
    }

    /// Says how far the command is.
    pub(super) fn progress(&self, text: &str) {
        if !self.is_one_document() {
            error(text);
        }
    }

    /// What can be said before anything is changed.
    fn head(&self, report: &Report) -> io::Result<String> {
        Ok(match self.format {
            Format::Text => report::text::render(report, self.detail),
            Format::Markdown => report::markdown::render(report, self.detail),
            Format::Diff => report::diff::render(report),
            Format::Json => json(report)?.head,
        })
    }

    /// What came of it.
    fn tail(&self, report: &Report) -> io::Result<String> {
        Ok(match self.format {
            Format::Text | Format::Diff => report::text::result(report),
            Format::Markdown => report::markdown::result(report),
            Format::Json => json(report)?.tail,
        })
    }

    fn print(&self, text: &str) -> io::Result<()> {
        match print(text) {
            Err(error) if self.only_reads && error.kind() == ErrorKind::BrokenPipe => Ok(()),
            printed => printed,
        }
    }
}

/// A report as JSON. Its tail begins with the first field that says what came of it: all fields before it are known when
/// nothing is changed yet.
fn json(report: &Report) -> io::Result<Document> {
    let mut head = printable_json(&serde_json::to_string_pretty(report)?);
    head.push('\n');
    let known = head.find("\n  \"outcome\":").unwrap_or_default();
    let tail = head.split_off(known);
    Ok(Document { head, tail })
}

/// Prints on stdout, and says whether that has worked: std takes a stdout that cannot be written to for one that nobody
/// reads.
pub(super) fn print(text: &str) -> io::Result<()> {
    if IS_CLOSED.load(Ordering::Relaxed) {
        return Err(Errno::BADF.into());
    }
    let stdout = io::stdout();
    let text = match AutoStream::choice(&stdout) {
        ColorChoice::Never if text.contains('\x1b') => Cow::Owned(strip_str(text).to_string()),
        _ => Cow::Borrowed(text),
    };
    let file = File::from(stdout.as_fd().try_clone_to_owned()?);
    let is_file = file.metadata()?.is_file();
    Waiting(&file).write_all(text.as_bytes())?;
    if is_file {
        // A disk of the network may say only now that it is full.
        file.sync_data()?;
    }
    Ok(())
}

/// Prints on stderr. If that fails, nobody can be told.
pub(super) fn error(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

/// A file that may be set to not blocking by someone who shares it.
struct Waiting<'f>(&'f File);

impl Write for Waiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut ready = [PollFd::new(self.0, PollFlags::OUT)];
                    rustix::event::poll(&mut ready, None)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
