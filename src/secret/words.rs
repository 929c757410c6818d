//! What gives a secret away in text that nobody else understands: names that announce one, and the shapes of tokens
//! that everybody knows. Everything here takes one pass over its text.

use crate::near::{letters, may_be_within, slips_between};
use std::ops::Range;

use crate::work;

/// What a password is called, as a part of a word in lower case. What follows one is a secret, with or without a sign
/// between them.
const PASSWORDS: &[&str] = &[
    "password",
    "passwort",
    "passwd",
    "passphrase",
    "passcode",
    "passord",
    "pwd",
    "kennwort",
    "geheim",
    "losung",
    "contrase",
    "contrasenya",
    "motdepasse",
    "passe",
    "senha",
    "palavra-passe",
    "parola",
    "parolă",
    "parole",
    "passw0rd",
    "p4ssw0rd",
    "passwrd",
    "pasword",
    "psswd",
    "pswd",
    "laluan",
    "parool",
    "hasło",
    "haslo",
    "heslo",
    "geslo",
    "lozinka",
    "zaporka",
    "jelszó",
    "jelszo",
    "wachtwoord",
    "lösenord",
    "losenord",
    "salasana",
    "adgangskode",
    "kodeord",
    "şifre",
    "sifre",
    "slaptažodis",
    "lykilorð",
    "khẩu",
    "sandi",
    "пароль",
    "пароля",
    "паролю",
    "паролем",
    "пароли",
    "лозинка",
    "парола",
    "гасло",
    "κωδικός",
    "κωδικό",
    "συνθηματικό",
    "סיסמה",
    "סיסמא",
    "المرور",
    "السر",
    "گذرواژه",
    "عبور",
    "पासवर्ड",
    "รหัสผ่าน",
    "密码",
    "密碼",
    "口令",
    "パスワード",
    "暗証",
    "暗号",
    "비밀번호",
    "암호",
    "գաղտնաբառ",
    "პაროლი",
];
/// The same of other secrets, and of what stands before one. What follows is a secret after `:` or `=`, or if it looks
/// like one: `the key is elsewhere`.
const HINTS: &[&str] = &[
    "pass",
    "pw",
    "s3cr3t",
    "pat",
    "pin",
    "otp",
    "tok",
    "psk",
    "clave",
    "mdp",
    "auth",
    "authorization",
    "authentication",
    "basic",
    "bearer",
    "cookie",
    "cred",
    "creds",
    "credential",
    "credentials",
    "key",
    "keys",
    "apikey",
    "accesskey",
    "secretkey",
    "secret",
    "secrets",
    "token",
    "tokens",
    "jwt",
    "sas",
    "signature",
    "login",
    "user",
    "username",
    "usr",
    "identitytoken",
    "geheimnis",
    "zugangsdaten",
    "schlüssel",
    "secreto",
    "segredo",
    "chiave",
    "ключ",
    "секрет",
    "токен",
    "логин",
    "密钥",
    "密鑰",
    "令牌",
    "秘密",
    "秘钥",
    "鍵",
    "トークン",
    "토큰",
    "키",
];
/// Hints that say so as a part of a word, too.
const HINTS_ANYWHERE: &[&str] = &["secret", "token", "credential", "apikey", "密钥", "令牌"];
/// Hints that say so at the end of a word, too.
const HINTS_AT_END: &[&str] = &["auth", "key", "pass", "token", "secret"];
/// Tables all of whose values are secret, and the names for which one is taken that is like them.
const SECRET_TABLES: &[&str] = &[
    "auth",
    "auths",
    "header",
    "headers",
    "credential",
    "credentials",
    "creds",
    "password",
    "passwords",
    "secret",
    "secrets",
    "token",
    "tokens",
    "authorization",
    "cookie",
    "cookies",
];
/// How tokens begin that everybody knows, and how many characters follow at least.
const PREFIXES: &[(&str, usize)] = &[
    ("eyJ", 10),
    ("ghp_", 8),
    ("gho_", 8),
    ("ghu_", 8),
    ("ghs_", 8),
    ("ghr_", 8),
    ("github_pat_", 8),
    ("glpat-", 8),
    ("gldt-", 8),
    ("glrt-", 8),
    ("glcbt-", 8),
    ("glptt-", 8),
    ("gloas-", 8),
    ("AKIA", 12),
    ("ASIA", 12),
    ("AROA", 12),
    ("ABIA", 12),
    ("ACCA", 12),
    ("xoxa-", 8),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("xoxr-", 8),
    ("xoxs-", 8),
    ("xapp-", 8),
    ("dckr_pat_", 8),
    ("dckr_oat_", 8),
    ("hvs.", 8),
    ("hvb.", 8),
    ("AIza", 30),
    ("ya29.", 8),
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("rk_live_", 8),
    ("SG.", 16),
    ("dop_v1_", 8),
    ("shpat_", 8),
    ("AGE-SECRET-KEY-", 8),
    ("rubygems_", 8),
    ("ATATT3", 8),
    ("ATBB", 16),
    ("AKC", 20),
    ("cmVmdGtu", 8),
    ("sha256~", 16),
];
/// The same of beginnings that names of repositories have, too: a word of small letters and hyphens is no token.
const WEAK_PREFIXES: &[(&str, usize)] = &[
    ("npm_", 16),
    ("pypi-", 16),
    ("sk-", 20),
    ("oat_", 16),
    ("hf_", 16),
];
/// How tokens begin that are so known that they are masked in paths, URLs and names, and how many letters and digits follow
/// at least, without a sign between them.
const EXACT_PREFIXES: &[(&str, usize)] = &[
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
];
/// The same of tokens that have signs in them.
const EXACT_PREFIXES_WITH_SIGNS: &[(&str, usize)] =
    &[("github_pat_", 36), ("glpat-", 20), ("dckr_pat_", 20)];
/// How the keys of AWS begin, and how many capital letters and digits follow exactly.
const AWS_KEYS: (&[&str], usize) = (&["AKIA", "ASIA"], 16);
/// The shortest header of a JSON Web Token.
const JWT_HEADER: usize = 13;
/// No token with one of them is shorter.
const SHORTEST_TOKEN: usize = 12;
/// A word with capital and small letters and digits is taken for a token from this length on.
const TOKEN: usize = 20;
/// The length of an AWS secret access key.
const AWS_SECRET_KEY: usize = 40;

/// What a word says about what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announces {
    /// Nothing.
    Nothing,
    /// A secret may follow.
    Perhaps,
    /// A password follows. In a script without spaces it follows the word's first bytes, of this number.
    Password(usize),
}

/// What a word of prose says about what follows it.
pub(super) fn announces(word: &str) -> Announces {
    // No word of any language is longer.
    if !(2..=128).contains(&word.len()) {
        return Announces::Nothing;
    }
    work::count(word.len());
    // A word without all letters of a name does not have the name in it. Letters of other scripts are in capitals, too.
    let has = match word.is_ascii() {
        true => letters(word.as_bytes()),
        false => letters(word.to_lowercase().as_bytes()),
    };
    let may_have = |letters: &u32| letters & !has == 0;
    // All at once: of most words it is none.
    let may_have_any = |all: &[u32]| all.iter().fold(false, |any, one| any | may_have(one));
    if !may_have_any(&PASSWORD_LETTERS) && !may_have_any(&HINT_LETTERS) {
        return Announces::Nothing;
    }
    let lower = word.to_lowercase();
    let has_letters = |(_, letters): &(_, &u32)| may_have(letters);
    for (name, _) in PASSWORDS.iter().zip(&PASSWORD_LETTERS).filter(has_letters) {
        if let Some(at) = find(&lower, name) {
            let end = at + name.len();
            // `password_prod` is one name; after 密码 the value may follow at once.
            let joined = name.is_ascii() || lower.len() != word.len();
            return Announces::Password(if joined { word.len() } else { end });
        }
    }
    for (name, _) in HINTS.iter().zip(&HINT_LETTERS).filter(has_letters) {
        let mut parts = lower.split(|c: char| !c.is_alphanumeric());
        if HINTS_ANYWHERE.contains(name) && find(&lower, name).is_some()
            || HINTS_AT_END.contains(name) && lower.ends_with(name)
            || parts.any(|part| part == *name)
        {
            return Announces::Perhaps;
        }
    }
    Announces::Nothing
}

/// Where a short text is in a word. For these lengths a plain search is much cheaper than the one of `str::find`.
fn find(word: &str, part: &str) -> Option<usize> {
    let (word, part) = (word.as_bytes(), part.as_bytes());
    let first = part.first()?;
    let mut starts = word.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts
        .find(|(at, _)| word.get(*at..).is_some_and(|rest| rest.starts_with(part)))
        .map(|(at, _)| at)
}

/// Whether the value of a setting of this name is a secret.
pub(super) fn names_secret(key: &str) -> bool {
    announces(key) != Announces::Nothing || names_secret_table(key)
}

/// Whether all that is in a table of this name is a secret: it is one of the known names, or one letter away from it,
/// or two in a longer one.
pub(super) fn names_secret_table(name: &str) -> bool {
    name.is_ascii()
        && SECRET_TABLES.iter().any(|table| {
            let (name, table) = (name.as_bytes(), table.as_bytes());
            let slips = if table.len() < 6 { 1 } else { 2 };
            may_be_within(name, table, slips)
                && slips_between(&name.to_ascii_lowercase(), table) <= slips
        })
}

static PASSWORD_LETTERS: [u32; PASSWORDS.len()] = letters_of_each(PASSWORDS);
static HINT_LETTERS: [u32; HINTS.len()] = letters_of_each(HINTS);

#[allow(clippy::indexing_slicing, reason = "it runs when this is compiled")]
const fn letters_of_each<const COUNT: usize>(names: &[&str]) -> [u32; COUNT] {
    let mut all = [0; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = letters(names[at].as_bytes());
        at += 1;
    }
    all
}

/// Where in a text tokens of a known shape are.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '~');
    runs(text, of_token).filter(|run| {
        let word = text.get(run.clone()).unwrap_or_default();
        has_known_prefix(word)
    })
}

fn has_known_prefix(word: &str) -> bool {
    if word.len() < SHORTEST_TOKEN {
        return false;
    }
    // `docker_ghp_…` and the like: a token may be joined to a word before it.
    let starts = word
        .match_indices(['_', '-', '.'])
        .map(|(at, _)| at + 1)
        .take(8);
    let rests = std::iter::once(0).chain(starts);
    let rests = rests.map(|start| word.get(start..).unwrap_or_default());
    let mut rests = rests.filter(|rest| rest.len() >= SHORTEST_TOKEN);
    rests.any(|rest| {
        has_prefix(rest, PREFIXES).is_some()
            || has_prefix(rest, WEAK_PREFIXES).is_some_and(is_scrambled)
    })
}

/// What follows one of these prefixes, if there is enough of it.
fn has_prefix<'w>(word: &'w str, prefixes: &[(&str, usize)]) -> Option<&'w str> {
    prefixes.iter().find_map(|(prefix, least)| {
        let rest = word.strip_prefix(prefix)?;
        let of_token = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-';
        let count = rest.bytes().take_while(of_token).count();
        (count >= *least).then_some(rest)
    })
}

/// Whether there are capital letters behind small ones, or letters behind digits: not so in `docker-hosted-internal2`.
fn is_scrambled(word: &str) -> bool {
    let pairs = word.as_bytes().iter().zip(word.as_bytes().iter().skip(1));
    let mut pairs = pairs.map(|(one, next)| (*one, *next));
    pairs.any(|(one, next)| {
        one.is_ascii_lowercase() && next.is_ascii_uppercase()
            || one.is_ascii_digit() && next.is_ascii_alphabetic()
    })
}

/// Where in a text tokens are whose shape nothing else has: they are masked in paths, URLs and names, too.
pub(super) fn exact_tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    runs(text, of_token).filter_map(|run| {
        let word = text.get(run.clone()).unwrap_or_default();
        let starts = word
            .match_indices(['_', '-', '.'])
            .map(|(at, _)| at + 1)
            .take(8);
        let mut starts = std::iter::once(0).chain(starts);
        let start = starts.find(|start| is_exact(word.get(*start..).unwrap_or_default()))?;
        Some(run.start + start..run.end)
    })
}

fn is_exact(word: &str) -> bool {
    let letters = |text: &str| text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let plain = EXACT_PREFIXES.iter().any(|(prefix, least)| {
        let rest = word.strip_prefix(prefix);
        rest.is_some_and(|rest| letters(rest) >= *least && is_scrambled(rest))
    });
    let aws = || {
        let (prefixes, length) = AWS_KEYS;
        let rest = prefixes.iter().find_map(|prefix| word.strip_prefix(prefix));
        rest.is_some_and(|rest| {
            let key = rest.get(..letters(rest)).unwrap_or_default();
            key.len() == length
                && !key.contains(|c: char| c.is_ascii_lowercase())
                && key.contains(|c: char| c.is_ascii_digit())
        })
    };
    let with_signs = || has_prefix(word, EXACT_PREFIXES_WITH_SIGNS).is_some_and(is_scrambled);
    plain || with_signs() || aws() || is_web_token(word)
}

/// Whether a word is a JSON Web Token: three parts, the first of which is base64 of an object of JSON.
fn is_web_token(word: &str) -> bool {
    let mut parts = word.split('.');
    let (Some(header), Some(payload)) = (parts.next(), parts.next()) else {
        return false;
    };
    let capitals = header.bytes().filter(u8::is_ascii_uppercase).count();
    header.starts_with("eyJ")
        && header.len() >= JWT_HEADER
        && capitals >= 2
        && header.contains(|c: char| c.is_ascii_digit())
        && !payload.is_empty()
        && parts.next().is_some()
}

/// Whether a text is nothing but a token, or base64 of `user:password`.
pub(super) fn is_token(text: &str) -> bool {
    let is_whole = |run: Range<usize>| run == (0..text.len());
    exact_tokens(text).next().is_some_and(is_whole) || is_basic(text)
}

/// Where in a text words are that only a machine makes: long ones with letters of both cases and digits, and base64 of
/// `user:password`. In a URL and in a path behind a host they begin behind the host.
pub(super) fn odd_words(
    text: &str,
    authorities: &[Range<usize>],
) -> impl Iterator<Item = Range<usize>> {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-' | '=');
    let mut authorities = authorities.iter().peekable();
    runs(text, of_base64).filter_map(move |run| {
        while authorities.next_if(|it| it.end < run.start).is_some() {}
        let before = run
            .start
            .checked_sub(1)
            .and_then(|at| text.as_bytes().get(at));
        let mut start = run.start;
        // The slashes before an authority are in its run; behind a dot or a port it goes on in others.
        while let Some(authority) = authorities.peek().filter(|it| it.start <= run.end) {
            if authority.end >= run.end {
                return None;
            }
            start = start.max(authority.end);
            authorities.next();
        }
        if start == run.start && matches!(before, Some(b'.' | b':')) {
            let word = text.get(run.clone()).unwrap_or_default();
            start += word.find('/').unwrap_or_default();
        }
        let word = text.get(start..run.end).unwrap_or_default();
        // AWS secret keys have slashes in them, as paths have.
        let is_aws = word.len() == AWS_SECRET_KEY && !word.starts_with('/') && is_mixed(word);
        if is_aws || is_basic(word) {
            return Some(start..run.end);
        }
        let mut at = start;
        for part in word.split('/') {
            if is_mixed(part) {
                // A path is shown up to the part that is odd.
                return Some(if word.starts_with('/') { at } else { start }..run.end);
            }
            at += part.len() + 1;
        }
        None
    })
}

/// Where the authorities of URLs are in a text.
pub(super) fn authorities(text: &str) -> Vec<Range<usize>> {
    let starts = text.match_indices("://").map(|(at, sign)| at + sign.len());
    let authority = |start: usize| {
        let rest = text.get(start..).unwrap_or_default();
        let ends = |c: char| {
            c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`' | '<' | '>')
        };
        start..start + rest.find(ends).unwrap_or(rest.len())
    };
    starts.map(authority).collect()
}

fn is_mixed(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    word.len() >= TOKEN
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}

/// Whether a word is base64 of `user:password`.
fn is_basic(word: &str) -> bool {
    /// User and password are not longer than this together.
    const LONGEST: usize = 1024;
    if word.len() < 8 || word.len() > LONGEST {
        return false;
    }
    let (mut has_user, mut has_colon) = (false, false);
    let is_shown = each_of_base64(word, |byte| {
        has_colon |= has_user && byte == b':';
        has_user = true;
        (b' '..0x7f).contains(&byte)
    });
    is_shown && has_colon
}

/// Whether all bytes of base64 are so; of either alphabet, with or without padding.
fn each_of_base64(text: &str, mut is_so: impl FnMut(u8) -> bool) -> bool {
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            let [byte, ..] = (bits >> count).to_le_bytes();
            if !is_so(byte) {
                return false;
            }
        }
    }
    true
}

/// Whether a PEM block begins in a text.
pub(super) fn has_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// Whether a text has a PEM block or a token in it whose shape nothing else has.
pub(super) fn has_exact_token(text: &str) -> bool {
    has_pem(text) || exact_tokens(text).next().is_some()
}

/// Whether a text has the shape of a secret anywhere.
pub(super) fn has_token(text: &str) -> bool {
    has_pem(text) || tokens(text).next().is_some() || odd_words(text, &[]).next().is_some()
}

/// The longest runs of characters that are all `of` something.
pub(super) fn runs(text: &str, of: impl Fn(char) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut characters = text.char_indices();
    std::iter::from_fn(move || {
        let (start, _) = characters.find(|(_, c)| of(*c))?;
        let end = characters.find(|(_, c)| !of(*c));
        let end = end.map_or(text.len(), |(end, _)| end);
        work::count(end - start);
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_known_in_many_languages() {
        for word in [
            "password",
            "PASSWORD_PROD",
            "Contraseña",
            "Passwort",
            "senha",
            "Пароль",
            "密码",
            "パスワード",
        ] {
            assert!(matches!(announces(word), Announces::Password(_)), "{word}");
        }
        assert_eq!(announces("密码是"), Announces::Password("密码".len()));
        for word in [
            "api_key",
            "x-registry-auth",
            "identity_token",
            "Bearer",
            "pw",
        ] {
            assert_eq!(announces(word), Announces::Perhaps, "{word}");
        }
        for word in [
            "Author", "endpoint", "keyboard", "registry", "compass", "server",
        ] {
            assert_eq!(
                announces(word),
                if word == "compass" {
                    Announces::Perhaps
                } else {
                    Announces::Nothing
                },
                "{word}"
            );
        }
    }

    #[test]
    fn a_misspelt_table_of_credentials_is_one() {
        for name in [
            "auth",
            "AUTH",
            "auht",
            "ath",
            "oauth",
            "auths",
            "haeders",
            "header",
            "credentails",
        ] {
            assert!(names_secret_table(name), "{name}");
        }
        for name in [
            "tls", "host", "path", "registry", "mirrors", "options", "runtimes", "address", "grpc",
            "metrics",
        ] {
            assert!(!names_secret_table(name), "{name}");
        }
    }

    #[test]
    fn tokens_are_known_by_their_shape() {
        for text in [
            "ghp_0123456789abcdef",
            "x ghs_0123456789abcdef",
            "glpat-abcdefgh1234",
            "dckr_pat_abcdefgh",
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "Ym9iOlMzY3JldA==",
            "Ym9iOlMzY3JldA",
            "xoxb-123456789012-abc",
            "my_ghp_0123456789abcdef",
        ] {
            assert!(has_token(text), "{text}");
        }
        for text in [
            "registry.k8s.io/pause:3.9",
            "io.containerd.grpc.v1.cri",
            "/var/lib/containerd/tmp",
            "insecure_skip_verify",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "application/vnd.oci.image.v1",
            "internationalisation",
            "ANSIBLE MANAGED BLOCK",
            "https://harbor.acme.example:8443/v2/proxy",
        ] {
            assert!(!has_token(text), "{text}");
        }
    }

    #[test]
    fn names_of_repositories_are_no_tokens() {
        for text in [
            "pypi-docker-hosted-internal",
            "npm_mirror-production-eu",
            "sk-mirror-production-frankfurt",
            "hf_models-production-2024",
        ] {
            assert!(!has_token(text), "{text}");
        }
        assert!(has_token("pypi-AgEIcHlwaS5vcmcCJDQ"));
        assert!(has_token("npm_a1B2c3D4e5F6g7H8"));
    }

    #[test]
    fn exact_tokens_are_known_wherever_they_stand() {
        for (text, token) in [
            ("ghp_0123456789abcdefghijABCDEFGHIJ012345", 0),
            ("my_ghp_0123456789abcdefghijABCDEFGHIJ012345", 3),
            ("/x/glpat-a1B2c3D4e5F6g7H8i9J0", 3),
            ("/x/AKIAIOSFODNN7EXAMPLE", 3),
            ("eyJhUnTr2abcdefghijk.hUnTr2.y", 0),
        ] {
            let found = exact_tokens(text).next();
            assert_eq!(found, Some(token..text.len()), "{text}");
        }
        for text in [
            "ClusterProvisioner2024Registry",
            "glpat-mirror-production-frankfurt2",
            "ghp_mirror-production-frankfurt2",
            "AKIAMIRRORPRODUCTION2024",
            "eyJafjallajokull.example.com",
            "io.containerd.grpc.v1.cri",
        ] {
            assert_eq!(exact_tokens(text).next(), None, "{text}");
        }
    }

    #[test]
    fn an_odd_word_in_a_url_begins_behind_its_host() {
        for (text, shown) in [
            (
                "https://wiki/pages/ClusterProvisioner2024Registry",
                "https://wiki/pages/",
            ),
            ("https://ClusterProvisioner2024Registry.example:5000/x", ""),
            (
                "https://wiki.corp/ClusterProvisioner2024Registry",
                "https://wiki.corp/",
            ),
            (
                "wiki.corp/pages/ClusterProvisioner2024Registry",
                "wiki.corp/pages/",
            ),
            (
                "ca in /etc/pki/CorpRootCA2023Production.pem",
                "ca in /etc/pki/",
            ),
            ("x ab/ClusterProvisioner2024Registry", "x "),
        ] {
            let found = odd_words(text, &authorities(text)).next();
            let before = found.map_or("", |run| text.get(..run.start).unwrap());
            assert_eq!(before, shown, "{text}");
        }
    }

    #[test]
    fn no_token_with_a_known_prefix_is_shorter_than_the_shortest() {
        let shortest = PREFIXES
            .iter()
            .chain(WEAK_PREFIXES)
            .map(|(prefix, least)| prefix.len() + least)
            .min();
        assert_eq!(shortest, Some(SHORTEST_TOKEN));
    }

    #[test]
    fn a_run_ends_where_its_characters_end() {
        let found: Vec<_> = runs("ab  c-d", |c| c.is_alphanumeric()).collect();
        assert_eq!(found, [0..2, 4..5, 6..7]);
        assert_eq!(runs("", char::is_alphanumeric).count(), 0);
    }
}
