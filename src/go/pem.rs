//! Whether a file holds a certificate, by the rules of Go's `x509.CertPool.AppendCertsFromPEM`.
//!
//! The legacy settings of containerd ignore a `ca_file` without a certificate; a hosts.toml that names one fails
//! every pull (`pkg/cri/server/image_pull.go@v1.7.34`, `remotes/docker/config/hosts.go@v1.7.34`). So such a file is
//! left out, and only such a file: what is not surely refused counts as a certificate. That decides the open cases:
//!
//! * `encoding/pem` was rewritten in Go 1.24.8 and 1.25.2 and finds a little less since; this is the older one.
//! * What is in a block is not looked at: a block of that name that holds no X.509 counts as a certificate.

/// Whether Go would look for a certificate in a block of `bytes`.
pub fn holds_certificate(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((block, after)) = next_block(rest) {
        if block.kind == b"CERTIFICATE" && !block.has_headers && !block.is_empty {
            return true;
        }
        rest = after;
    }
    false
}

struct Block<'a> {
    kind: &'a [u8],
    has_headers: bool,
    is_empty: bool,
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
        if let Some(digits) = base64_digits(data) {
            let block = Block {
                kind,
                has_headers,
                is_empty: digits == 0,
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

/// How many digits there are, if this is padded base64 with the white space that Go's decoder and its PEM reader skip.
fn base64_digits(text: &[u8]) -> Option<usize> {
    let (mut digits, mut padding) = (0, 0);
    for byte in text {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return None,
        }
    }
    matches!((digits % 4, padding), (0, 0) | (2, 2) | (3, 1)).then_some(digits)
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

    #[test]
    fn every_measured_file_has_the_answer_of_go_as_far_as_pem_goes() {
        let answers = std::fs::read_to_string(data().join("go-answers.txt")).unwrap();
        let mut seen = 0;
        for answer in answers.lines() {
            let (name, answer) = answer.split_once('\t').unwrap();
            let bytes = std::fs::read(data().join(name)).unwrap();
            // Go finds out that this block holds no certificate; that counts as one here.
            let counts = name == "12_der_garbage.pem";
            assert_eq!(
                holds_certificate(&bytes),
                answer.starts_with("append=true") || counts,
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
        assert!(!with("GL\n", "GL=\n") && !with("GL\n", "G==\n"));
    }

    #[test]
    fn first_lines_without_end_take_no_time() {
        let many = "-----BEGIN CERTIFICATE-----\n".repeat(100_000);
        assert!(!holds_certificate(many.as_bytes()));
        assert!(holds_certificate((many + &plain()).as_bytes()));
    }
}
