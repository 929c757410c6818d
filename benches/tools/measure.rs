//! Runs commands in turn and prints, one line for each, its median time in seconds and the median ratio of its time to
//! that of the last command. Runs in turn, and ratios of neighbours, make the noise of a busy machine hit all alike.
//!
//! ```text
//! measure RUNS SETUP -- COMMAND [ARGUMENT...] -- COMMAND [ARGUMENT...] ...
//! ```
//!
//! `SETUP`, unless it is empty, is run by `sh -c` before each run of each command and is not timed. What the commands
//! print is dropped. An exit status other than 0 and 1 (changes are pending) ends the measurement: a refusal must not
//! pass for a fast run.

use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

fn main() -> ExitCode {
    match measure() {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<String, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut parts = arguments.split(|argument| argument == "--");
    let Some([runs, setup]) = parts.next() else {
        return Err("usage: measure RUNS SETUP -- COMMAND [ARGUMENT...] ...".into());
    };
    let runs: usize = runs.parse()?;
    let commands: Vec<&[String]> = parts.collect();

    let mut seconds = vec![Vec::new(); commands.len()];
    // The first round warms the caches and does not count.
    for round in 0..=runs {
        for (command, seconds) in commands.iter().zip(&mut seconds) {
            if !setup.is_empty() {
                run(&["sh".into(), "-c".into(), setup.clone()])?;
            }
            let taken = run(command)?;
            if round > 0 {
                seconds.push(taken);
            }
        }
    }

    let last = seconds.last().ok_or("no command")?.clone();
    let mut report = String::new();
    for seconds in seconds {
        let ratios = seconds.iter().zip(&last).map(|(this, last)| this / last);
        let ratio = median(ratios.collect());
        report += &format!("{:.6} {ratio:.4}\n", median(seconds));
    }
    Ok(report)
}

/// The time in seconds that a command takes from its start to its end.
fn run(command: &[String]) -> Result<f64, Box<dyn Error>> {
    let (program, arguments) = command.split_first().ok_or("an empty command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let status = command
        .status()
        .map_err(|error| format!("{program}: {error}"))?;
    let taken = start.elapsed().as_secs_f64();
    match status.code() {
        Some(0 | 1) => Ok(taken),
        _ => Err(format!("{command:?}: {status}").into()),
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
