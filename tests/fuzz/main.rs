//! The properties of the fuzz targets in `fuzz/` on a fixed set of inputs: the nodes of the fixtures, and each of them
//! with a few changes.
//!
//! ```text
//! cargo test --test fuzz
//! FUZZ_INPUTS=20000 cargo test --release --test fuzz
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod properties;
#[path = "../support/random.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each test crate uses a part of it"
)]
mod random;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use random::Random;
use targets::TARGETS;

/// As many as a debug build can try in some seconds.
const INPUTS: usize = 100;

/// A seed with parts of it cut out, doubled, replaced, or taken from another one.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const PARTS: &[&str] = &[
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "{",
        "}",
        "#",
        "=",
        "\n",
        "\r\n",
        ".",
        ",",
        "@",
        ":",
        "/",
        "\\",
        "\u{feff}",
        "\0",
        "\u{1b}",
        "\u{85}",
        "\u{202e}",
        "mirrors",
        "configs",
        "registry",
        "endpoint",
        "tls",
        "auth",
        "config_path",
        "version = ",
        "https://",
        "null",
        "*",
        "_default",
        "é",
        "%",
        "0",
        "-1",
        "9223372036854775808",
    ];
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(24)).min(input.len());
        let new: Vec<u8> = match random.below(5) {
            0 => Vec::new(),
            1 => input[at..end].repeat(2),
            2 => vec![u8::try_from(random.below(256)).unwrap()],
            3 => random.pick(PARTS).into(),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                other[from..(from + random.below(200)).min(other.len())].to_vec()
            }
        };
        let end = if random.percent(50) { at } else { end };
        input.splice(at..end, new);
    }
    input
}

fn inputs() -> usize {
    let given = std::env::var("FUZZ_INPUTS").ok();
    given.map_or(INPUTS, |number| number.parse().unwrap())
}

fn assert_holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = (target.seeds)();
    assert!(seeds.len() >= 20, "{name} has too few inputs to begin with");
    let mut random = Random::of(0, name);
    let count = inputs();
    // The seeds themselves, as many as there is time for.
    let step = seeds.len().div_ceil(count).max(1);
    let unchanged = seeds.iter().step_by(step).cloned();
    let changed = (0..count).map(|_| changed(&seeds, &mut random));
    for input in unchanged.chain(changed.collect::<Vec<_>>()) {
        let held = catch_unwind(AssertUnwindSafe(|| (target.property)(&input)));
        assert!(
            held.is_ok(),
            "{name} fails for {:?}",
            String::from_utf8_lossy(&input)
        );
    }
}

#[test]
fn any_config_toml() {
    assert_holds("config_toml");
}

#[test]
fn any_hosts_toml() {
    assert_holds("hosts_toml");
}

#[test]
fn any_journal() {
    assert_holds("journal");
}

#[test]
fn any_url() {
    assert_holds("url");
}
