//! Whether a file holds a certificate, by the rules of Go's `x509.CertPool.AppendCertsFromPEM`.
//!
//! The legacy settings of containerd ignore a `ca_file` without a certificate; a hosts.toml that names one fails
//! every pull (`pkg/cri/server/image_pull.go@v1.7.34`, `remotes/docker/config/hosts.go@v1.7.34`). So such a file is
//! left out, and only such a file: what is not surely refused counts as a certificate. That decides the open cases:
//!
//! * `encoding/pem` was rewritten in Go 1.24.8 and 1.25.2 and finds a little less since; this is the older one.
//! * Of a certificate only the frame that every version of `crypto/x509` insists on is looked at: the elements, their
//!   order and their lengths, not names, dates, keys or extensions.

/// Whether Go would take at least one certificate out of `bytes`.
pub fn holds_certificate(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((block, after)) = next_block(rest) {
        if block.kind == b"CERTIFICATE" && !block.has_headers && is_certificate(&block.bytes) {
            return true;
        }
        rest = after;
    }
    false
}

struct Block<'a> {
    kind: &'a [u8],
    has_headers: bool,
    bytes: Vec<u8>,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The first well-formed block, and what follows its last line.
///
/// Whatever is wrong with a block, the search goes on below its first line, so a good block behind it is found.
fn next_block(mut rest: &[u8]) -> Option<(Block<'_>, &[u8])> {
    let mut tail: Option<&[u8]> = None;
    loop {
        let (first_line, below) = line(at_line_start(rest, BEGIN)?);
        rest = below;
        let Some(kind) = first_line.strip_suffix(DASHES) else {
            continue;
        };
        let mut body = below;
        loop {
            // A header that the file ends with ends the search as well: Go gives up here.
            if body.is_empty() {
                return None;
            }
            let (header, next) = line(body);
            if !header.contains(&b':') {
                break;
            }
            body = next;
        }
        let has_headers = body.len() != below.len();
        rest = body;
        // Without headers the last line may follow the first one at once.
        let (data, trailer) = match body.strip_prefix(END) {
            Some(trailer) if !has_headers => (&[][..], trailer),
            _ => {
                // Looked for once for all the first lines before it: a file of first lines only must not take for ever.
                if tail.is_none_or(|tail| tail.len() > body.len()) {
                    tail = Some(from(body, &[b"\n", END].concat())?);
                }
                let tail = tail?;
                let data = body.get(..body.len() - tail.len())?;
                (data, tail.get(1 + END.len()..)?)
            }
        };
        let Some(end) = trailer
            .strip_prefix(kind)
            .and_then(|trailer| trailer.strip_prefix(DASHES))
        else {
            continue;
        };
        let (nothing, after) = line(end);
        if !nothing.is_empty() {
            continue;
        }
        if let Some(bytes) = base64(data) {
            let block = Block {
                kind,
                has_headers,
                bytes,
            };
            return Some((block, after));
        }
    }
}

/// What follows the first `mark` that begins a line. Only a line feed ends a line here: a byte order mark, an
/// indentation and a bare carriage return each hide the mark.
fn at_line_start<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(mark)
        .or_else(|| from(text, &[b"\n", mark].concat())?.get(1 + mark.len()..))
}

/// What begins with the first `wanted`.
fn from<'a>(text: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let at = text
        .windows(wanted.len())
        .position(|window| window == wanted)?;
    text.get(at..)
}

/// The first line without its line end and then without trailing spaces and tabs, and the lines below it.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let mut lines = text.splitn(2, |byte| *byte == b'\n');
    let mut line = lines.next().unwrap_or_default();
    let rest = lines.next();
    if rest.is_some() {
        line = line.strip_suffix(b"\r").unwrap_or(line);
    }
    while let Some(shorter) = line.strip_suffix(b" ").or_else(|| line.strip_suffix(b"\t")) {
        line = shorter;
    }
    (line, rest.unwrap_or_default())
}

/// Decodes padded base64 with the white space that Go's decoder and its PEM reader skip.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut digits, mut padding) = (0_u32, 0_usize, 0_usize);
    for byte in text {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'=' => padding += 1,
            _ if padding > 0 => return None,
            digit => {
                bits = bits << 6 | value(*digit)?;
                digits += 1;
                if digits == 4 {
                    let [_, decoded @ ..] = bits.to_be_bytes();
                    bytes.extend(decoded);
                    (bits, digits) = (0, 0);
                }
            }
        }
    }
    // Two digits are one byte, three are two; bits that are left over may be anything.
    let [_, one, two, _] = (bits << (6 * (4 - digits))).to_be_bytes();
    match (digits, padding) {
        (0, 0) => {}
        (2, 2) => bytes.push(one),
        (3, 1) => bytes.extend([one, two]),
        _ => return None,
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Whether `x509.ParseCertificate` could accept these bytes.
fn is_certificate(der: &[u8]) -> bool {
    certificate(der).is_some()
}

fn certificate(der: &[u8]) -> Option<()> {
    let mut input = Der(der);
    let mut outer = Der(input.take(SEQUENCE)?);
    // Bytes behind the certificate are an error in Go, bytes behind the signature within it are not.
    if !input.0.is_empty() {
        return None;
    }
    let mut signed = Der(outer.take(SEQUENCE)?);
    algorithm(&mut outer)?;
    bit_string(outer.take(BIT_STRING)?)?;

    if signed.next_is(VERSION) {
        let version = Der(signed.take(VERSION)?).take(INTEGER)?;
        if !matches!(version, [0..=2]) {
            return None;
        }
    }
    integer(signed.take(INTEGER)?)?;
    algorithm(&mut signed)?;
    let _issuer = signed.take(SEQUENCE)?;
    let mut validity = Der(signed.take(SEQUENCE)?);
    for _ in 0..2 {
        validity
            .take(UTC_TIME)
            .or_else(|| validity.take(GENERALIZED_TIME))?;
    }
    let _subject = signed.take(SEQUENCE)?;
    let mut key = Der(signed.take(SEQUENCE)?);
    algorithm(&mut key)?;
    bit_string(key.take(BIT_STRING)?)
}

fn algorithm(der: &mut Der<'_>) -> Option<()> {
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let identifier = Der(der.take(SEQUENCE)?).take(OBJECT_IDENTIFIER)?;
    (!identifier.is_empty()).then_some(())
}

/// An integer has at least one byte, and none that says nothing.
fn integer(bytes: &[u8]) -> Option<()> {
    match bytes {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => None,
        _ => Some(()),
    }
}

/// The first byte says how many bits of the last one are unused.
fn bit_string(bytes: &[u8]) -> Option<()> {
    match bytes {
        [0, ..] | [1..=7, _, ..] => Some(()),
        _ => None,
    }
}

/// The elements of a DER value that are still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The content of the next element, if it has this tag and a length in its shortest form. Nothing is read otherwise.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let value = length
                    .iter()
                    .fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
                if length.first() == Some(&0) || value < 0x80 {
                    return None;
                }
                (value, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        if *found != tag {
            return None;
        }
        self.0 = rest;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn data() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pem")
    }

    fn plain() -> String {
        std::fs::read_to_string(data().join("00_plain.pem")).unwrap()
    }

    fn der() -> Vec<u8> {
        next_block(plain().as_bytes()).unwrap().0.bytes
    }

    fn pem(der: &[u8]) -> String {
        use std::fmt::Write as _;
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        for chunk in der.chunks(3) {
            let bits = chunk
                .iter()
                .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
                << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let digit = char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
                let _ = write!(text, "{}", if place > chunk.len() { '=' } else { digit });
            }
        }
        text + "\n-----END CERTIFICATE-----\n"
    }

    #[test]
    fn every_measured_file_has_gos_answer() {
        let answers = std::fs::read_to_string(data().join("go-answers.txt")).unwrap();
        let mut seen = 0;
        for answer in answers.lines() {
            let (name, answer) = answer.split_once('\t').unwrap();
            let bytes = std::fs::read(data().join(name)).unwrap();
            assert_eq!(
                holds_certificate(&bytes),
                answer.starts_with("append=true"),
                "{name}"
            );
            let mut blocks = 0;
            let mut rest = bytes.as_slice();
            while let Some((_, after)) = next_block(rest) {
                blocks += 1;
                rest = after;
            }
            assert!(answer.contains(&format!("blocks={blocks}")), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 21);
    }

    #[test]
    fn a_good_block_is_found_behind_bad_ones() {
        let good = plain();
        for bad in [
            "-----BEGIN CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE\n",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nQUJ\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nQ=JD\n-----END CERTIFICATE-----\n",
            "-----BEGIN A-----\nQUJD\n-----END B-----\n",
            "-----BEGIN A-----\nQUJD\n-----END A----- x\n",
            "-----BEGIN A-----\nk: v\n\nQUJD\n-----END A-----\n",
        ] {
            assert!(!holds_certificate(bad.as_bytes()), "{bad:?}");
            assert!(
                holds_certificate(format!("{bad}{good}").as_bytes()),
                "{bad:?}"
            );
            assert!(
                holds_certificate(format!("{good}{bad}").as_bytes()),
                "{bad:?}"
            );
        }
        // A header runs into the end of the file: nothing is looked for behind it, there is nothing.
        assert!(!holds_certificate(b"-----BEGIN A-----\nk: v"));
        assert!(!holds_certificate(b"-----BEGIN A-----"));
    }

    #[test]
    fn spaces_count_only_where_go_skips_them() {
        let good = plain();
        let with = |from: &str, to: &str| holds_certificate(good.replace(from, to).as_bytes());
        assert!(with(
            "-----END CERTIFICATE-----",
            "-----END CERTIFICATE----- \t"
        ));
        assert!(!with(
            "-----END CERTIFICATE-----",
            " -----END CERTIFICATE-----"
        ));
        assert!(!with("BEGIN CERTIFICATE", "BEGIN CERTIFICATE "));
        assert!(!with("BEGIN CERTIFICATE", "BEGIN  CERTIFICATE"));
        assert!(!with("CERTIFICATE", "certificate"));
        assert!(with("\n", "\r\n") && with("\n", " \r\n") && !with("\n", "\r \n"));
        assert!(with("\nM", "\n \tM") && with("GL\n", "G L \n"));
        assert!(!with("GL\n", "GL=\n") && !with("GL\n", "G=\n"));
    }

    #[test]
    fn the_frame_of_a_certificate_is_looked_at() {
        let good = der();
        assert!(is_certificate(&good) && holds_certificate(pem(&good).as_bytes()));
        for length in 0..good.len() {
            assert!(!is_certificate(&good[..length]), "cut at {length}");
        }
        assert!(!is_certificate(&[good.as_slice(), b"\0"].concat()));
        // A key and a request are sequences too.
        assert!(!is_certificate(b"\x30\x03\x02\x01\x00"));
        let mut version_4 = good.clone();
        let at = version_4
            .windows(5)
            .position(|w| w == [0xa0, 3, 2, 1, 2])
            .unwrap();
        version_4[at + 4] = 3;
        assert!(!is_certificate(&version_4));
    }

    #[test]
    fn first_lines_without_end_take_no_time() {
        let many = "-----BEGIN CERTIFICATE-----\n".repeat(100_000);
        assert!(!holds_certificate(many.as_bytes()));
        assert!(holds_certificate((many + &plain()).as_bytes()));
    }

    #[test]
    fn lengths_are_in_their_shortest_form() {
        assert_eq!(Der(b"\x30\x01x").take(SEQUENCE), Some(&b"x"[..]));
        assert_eq!(Der(b"\x30\x81\x01x").take(SEQUENCE), None);
        assert_eq!(Der(b"\x30\x80x\0\0").take(SEQUENCE), None);
        assert_eq!(Der(b"\x30\x85\0\0\0\0\x01x").take(SEQUENCE), None);
        assert_eq!(Der(b"\x30\x84\xff\xff\xff\xffx").take(SEQUENCE), None);
        assert_eq!(integer(b"\0\x80"), Some(()));
        assert_eq!(integer(b"\0\x01"), None);
        assert_eq!(bit_string(b"\x01"), None);
    }
}
