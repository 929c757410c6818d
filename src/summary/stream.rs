//! JSON documents of a stream, one after the other: on a line each, written over several lines, in an array, or with other
//! text between them, as `kubectl logs` and Ansible give them. A document that breaks off does not take the next with it.

use std::io::{self, Read};

/// A longer document is not read.
pub(super) const LONGEST: usize = 64 << 20;
/// So much is read at one time.
const CHUNK: usize = 1 << 16;

/// Where something begins in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The byte, from zero.
    pub(super) offset: u64,
    /// The line, from one.
    pub(super) line: u64,
}

/// What a stream consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'b> {
    /// What is between two braces that belong together.
    Document(&'b [u8]),
    /// A document that ends before its last brace, as far as it goes.
    BrokenOff(&'b [u8]),
    /// A document that is longer than [`LONGEST`].
    TooLong,
    /// Text that is no document, however many lines of it.
    Text,
    /// Text with a zero byte, or longer than [`LONGEST`], as devices and sparse files give it. Nothing is read after it.
    Endless,
}

/// Where the scanner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between documents.
    Between,
    /// In text that is none.
    Text,
    /// In a document, so many braces deep.
    Inside { depth: u32 },
    /// In a string of a document.
    String { depth: u32 },
    /// Behind a backslash in one.
    Escape { depth: u32 },
    /// Behind the last part that is read.
    End,
}

/// Takes a stream apart.
struct Scanner<F> {
    state: State,
    /// The byte that comes next.
    at: Start,
    /// Whether it is the first of its line.
    is_line_start: bool,
    /// Where the document, or the text, begins.
    start: Start,
    document: Vec<u8>,
    is_too_long: bool,
    emit: F,
}

/// Calls `emit` for every part of the stream, in order; `read` hears how many bytes there were after each chunk.
pub(super) fn parts(
    mut stream: impl Read,
    mut read: impl FnMut(usize),
    emit: impl FnMut(Start, Part<'_>),
) -> io::Result<()> {
    let begin = Start { offset: 0, line: 1 };
    let mut scanner = Scanner {
        state: State::Between,
        at: begin,
        is_line_start: true,
        start: begin,
        document: Vec::new(),
        is_too_long: false,
        emit,
    };
    let mut chunk = vec![0; CHUNK];
    let result = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                scanner.chunk(chunk.get(..length).unwrap_or_default());
                read(length);
                if scanner.state == State::End {
                    break Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    scanner.end();
    result
}

impl<F: FnMut(Start, Part<'_>)> Scanner<F> {
    fn chunk(&mut self, chunk: &[u8]) {
        // The part of the document that is in this chunk.
        let mut from = 0;
        for (index, byte) in chunk.iter().copied().enumerate() {
            if byte == 0 || self.is_endless() {
                self.stop(chunk.get(from..index).unwrap_or_default());
                return;
            }
            let was_inside = self.is_inside();
            let ends = self.byte(byte);
            match ends {
                None if !was_inside && self.is_inside() => from = index,
                None => {}
                Some(Ends::Before) => {
                    self.finish(chunk.get(from..index).unwrap_or_default(), false);
                    // What ends a document may begin the next one.
                    self.again(byte);
                    from = index;
                }
                Some(Ends::After) => {
                    self.finish(chunk.get(from..=index).unwrap_or_default(), true);
                }
            }
            self.at.offset += 1;
            self.is_line_start = byte == b'\n';
            self.at.line += u64::from(byte == b'\n');
        }
        if self.is_inside() {
            self.keep(chunk.get(from..).unwrap_or_default());
        }
    }

    fn is_inside(&self) -> bool {
        !matches!(self.state, State::Between | State::Text | State::End)
    }

    fn is_endless(&self) -> bool {
        let longest = u64::try_from(LONGEST).unwrap_or(u64::MAX);
        self.state == State::Text && self.at.offset - self.start.offset >= longest
    }

    /// Ends where no document can go on or begin; `rest` is what the chunk has of the one that breaks off.
    fn stop(&mut self, rest: &[u8]) {
        if self.is_inside() {
            self.finish(rest, false);
        }
        if self.state != State::Text {
            self.start = self.at;
        }
        (self.emit)(self.start, Part::Endless);
        self.state = State::End;
    }

    /// Takes the next byte; whether the document ends with it, or before it.
    fn byte(&mut self, byte: u8) -> Option<Ends> {
        match (self.state, byte) {
            (State::Between | State::Text, b'{') => {
                if self.state == State::Text {
                    (self.emit)(self.start, Part::Text);
                }
                self.start = self.at;
                self.state = State::Inside { depth: 1 };
            }
            // White space, a mark that records begin or a text is UTF-8, and what is between the elements of an array.
            (
                State::Between,
                b' ' | b'\t' | b'\r' | b'\n' | 0x1e | 0xef | 0xbb | 0xbf | b'[' | b']' | b',',
            ) => {}
            (State::Between, _) => {
                self.start = self.at;
                self.state = State::Text;
            }
            (State::Text, _) => {}
            // Reports are written with all but the first brace indented, or without line breaks.
            (State::Inside { .. }, b'{') if self.is_line_start => return Some(Ends::Before),
            (State::Inside { depth }, b'{') => {
                self.state = State::Inside { depth: depth + 1 };
            }
            (State::Inside { depth: 1 }, b'}') => {
                self.state = State::Between;
                return Some(Ends::After);
            }
            (State::Inside { depth }, b'}') => self.state = State::Inside { depth: depth - 1 },
            (State::Inside { depth }, b'"') => self.state = State::String { depth },
            (State::Inside { .. }, _) => {}
            // No string has a line break.
            (State::String { .. } | State::Escape { .. }, b'\n') => return Some(Ends::Before),
            (State::String { depth }, b'"') => self.state = State::Inside { depth },
            (State::String { depth }, b'\\') => self.state = State::Escape { depth },
            (State::String { .. }, _) => {}
            (State::Escape { depth }, _) => self.state = State::String { depth },
            (State::End, _) => {}
        }
        None
    }

    /// Takes a byte before which a document broke off.
    fn again(&mut self, byte: u8) {
        self.state = State::Between;
        self.byte(byte);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.document.len() + bytes.len() > LONGEST {
            self.is_too_long = true;
            self.document.clear();
        }
        if !self.is_too_long {
            self.document.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self, rest: &[u8], is_whole: bool) {
        self.keep(rest);
        let part = if self.is_too_long {
            Part::TooLong
        } else if is_whole {
            Part::Document(&self.document)
        } else {
            Part::BrokenOff(&self.document)
        };
        (self.emit)(self.start, part);
        self.document.clear();
        self.is_too_long = false;
    }

    fn end(&mut self) {
        if self.is_inside() {
            self.finish(&[], false);
        } else if self.state == State::Text {
            (self.emit)(self.start, Part::Text);
        }
    }
}

/// Where a document ends.
enum Ends {
    /// Before this byte, which does not belong to it.
    Before,
    /// After this byte.
    After,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out so many bytes at one time.
    struct Pieces<'t>(&'t [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    /// The parts as `LINE:OFFSET TEXT`, whatever the pieces are in which they come.
    fn of(text: &str) -> Vec<String> {
        let in_pieces = |size: usize| {
            let mut found = Vec::new();
            let mut bytes = 0;
            let emit = |start: Start, part: Part<'_>| {
                let what = match part {
                    Part::Document(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Part::BrokenOff(_) => "BrokenOff".to_owned(),
                    other => format!("{other:?}"),
                };
                found.push(format!("{}:{} {what}", start.line, start.offset));
            };
            parts(Pieces(text.as_bytes(), size), |read| bytes += read, emit).unwrap();
            assert_eq!(bytes, text.len());
            found
        };
        let whole = in_pieces(CHUNK);
        for size in [1, 2, 3, 7] {
            assert_eq!(in_pieces(size), whole, "{size}: {text}");
        }
        whole
    }

    #[test]
    fn documents_may_stand_in_any_way() {
        for text in [
            "{\"a\":1}\n{\"b\":2}\n",
            "{\"a\":1}{\"b\":2}",
            "[{\"a\":1},{\"b\":2}]",
            "\u{1e}{\"a\":1}\n\u{1e}{\"b\":2}\n",
            "\u{feff}{\"a\":1}\r\n\r\n{\"b\":2}",
        ] {
            let found: Vec<String> = of(text)
                .iter()
                .map(|part| part.split_once(' ').unwrap().1.to_owned())
                .collect();
            assert_eq!(found, ["{\"a\":1}", "{\"b\":2}"], "{text}");
        }
        let pretty = "{\n  \"a\": {\n    \"b\": \"}\\\"{\"\n  }\n}\n";
        assert_eq!(of(pretty), [format!("1:0 {}", pretty.trim_end())]);
        assert_eq!(of(&format!("[\n  {pretty}]\n")).len(), 1);
        assert!(of(" \n\t").is_empty());
    }

    #[test]
    fn what_breaks_off_does_not_take_the_next_with_it() {
        let whole = "{\"b\": 2}";
        for (broken, parts) in [
            ("{\"a\": {\n", vec!["1:0 BrokenOff", "2:8 {\"b\": 2}"]),
            ("{\"a\": \"x\n", vec!["1:0 BrokenOff", "2:9 {\"b\": 2}"]),
            ("{\n  \"a\": [\n", vec!["1:0 BrokenOff", "3:11 {\"b\": 2}"]),
            ("oops: x\nmore\n", vec!["1:0 Text", "3:13 {\"b\": 2}"]),
            ("{x} \n", vec!["1:0 {x}", "2:5 {\"b\": 2}"]),
        ] {
            assert_eq!(of(&format!("{broken}{whole}\n")), parts, "{broken}");
        }
        assert_eq!(of("{\"a\": {}"), ["1:0 BrokenOff"]);
        assert_eq!(of("[pod/x] {\"a\":1}\n"), ["1:1 Text", "1:8 {\"a\":1}"]);
        assert_eq!(of("{\"a\":1}\nbye"), ["1:0 {\"a\":1}", "2:8 Text"]);
    }

    #[test]
    fn nothing_is_read_after_a_zero_byte_or_a_text_without_end() {
        let endless = |head: &'static str, byte: u8| {
            let (mut found, mut length) = (Vec::new(), 0);
            let emit = |start: Start, part: Part<'_>| {
                let what = match part {
                    Part::Document(_) => "Document".to_owned(),
                    Part::BrokenOff(bytes) => format!("BrokenOff {}", bytes.len()),
                    other => format!("{other:?}"),
                };
                found.push(format!("{}:{} {what}", start.line, start.offset));
            };
            let stream = head.as_bytes().chain(io::repeat(byte));
            parts(stream, |read| length += read, emit).unwrap();
            assert!(length <= LONGEST + 2 * CHUNK, "{length}");
            found
        };
        assert_eq!(endless("", 0), ["1:0 Endless"]);
        assert_eq!(endless("{\"a\":1}\n", 0), ["1:0 Document", "2:8 Endless"]);
        assert_eq!(endless("{\"a\":\"x", 0), ["1:0 BrokenOff 7", "1:7 Endless"]);
        assert_eq!(endless("oops\n", 0), ["1:0 Endless"]);
        assert_eq!(endless("oops", b'\n'), ["1:0 Endless"]);
        assert_eq!(endless("{}\n", b'x'), ["1:0 Document", "2:3 Endless"]);
    }

    #[test]
    fn a_document_without_end_is_not_kept() {
        let head = "{\"a\": \"".as_bytes();
        let long = io::repeat(b'x').take(LONGEST as u64 + 1);
        let tail = "\"}\n{\"b\":2}".as_bytes();
        let mut found = Vec::new();
        let emit = |_, part: Part<'_>| found.push(format!("{part:?}").len());
        parts(head.chain(long).chain(tail), |_| {}, emit).unwrap();
        assert_eq!(found[0], "TooLong".len());
        assert_eq!(found.len(), 2);
    }
}
