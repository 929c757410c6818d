//! How containerd is asked, and what its answers mean.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Cri, PROBE_LIMIT, last_lines};
use crate::apply::command;

/// What containerd says about a CRI that is not up, and in its log since its restart.
pub(super) fn error_lines(address: &str, restart: Option<SystemTime>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok(ended) = command::run(plugins(address, &["-d"]), PROBE_LIMIT) {
        lines.extend(messages(&ended.output));
    }
    let since = restart.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let Some(since) = since else {
        return lines;
    };
    let mut journalctl = Command::new("journalctl");
    journalctl.args([
        "--unit=containerd",
        "--output=cat",
        "--no-pager",
        "--lines=200",
    ]);
    journalctl.arg(format!("--since=@{}", since.as_secs()));
    if let Ok(ended) = command::run(journalctl, PROBE_LIMIT) {
        let marks = ["level=error", "level=fatal", "containerd: "];
        let is_error = |line: &&str| marks.iter().any(|mark| line.contains(mark));
        let errors: Vec<&str> = ended.output.lines().filter(is_error).collect();
        lines.extend(last_lines(&errors.join("\n")));
    }
    lines
}

fn connect(address: &str) -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        // A frozen daemon's full queue must not stop us.
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(address)?)?;
    Ok(socket)
}

/// Whether someone listens, or may: only a socket that is not there, or that was left behind, says no.
pub(super) fn is_listening(address: &str) -> bool {
    !matches!(
        connect(address),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED)
    )
}

/// A containerd that runs on this machine: one with another root is in a container.
pub(super) fn containerd_pid() -> Option<u32> {
    let root = |path: &str| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let own = root("/");
    let is_containerd = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name == "containerd\n") && root(&format!("/proc/{pid}/root")) == own
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_containerd)
}

/// Whether CRI answers a request: a loaded one may still be busy with its recovery.
pub(super) fn is_serving(address: &str) -> bool {
    let mut crictl = Command::new("crictl");
    let endpoint = format!("unix://{address}");
    crictl.args([
        "--runtime-endpoint",
        &endpoint,
        "--timeout",
        "2s",
        "version",
    ]);
    command::run(crictl, PROBE_LIMIT).is_ok_and(|ended| ended.is_success())
}

/// The process that listens at this socket.
pub(super) fn daemon(address: &str) -> Option<Daemon> {
    let socket = connect(address).ok()?;
    let pid = rustix::net::sockopt::socket_peercred(&socket).ok()?.pid;
    Some(Daemon(pid.as_raw_pid()))
}

/// The process that listens at containerd's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Daemon(pub(super) i32);

pub(super) fn plugins(address: &str, options: &[&str]) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.args([
        "--address",
        address,
        "--connect-timeout",
        "1s",
        "plugins",
        "ls",
    ]);
    ctr.args(options).arg("id==cri");
    ctr
}

/// Reads the row of the CRI plugin: `io.containerd.grpc.v1  cri  linux/amd64  ok`.
pub(super) fn cri_row(output: &str) -> Cri {
    let mut answered = false;
    for line in output.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        match columns.as_slice() {
            ["TYPE", "ID", ..] => answered = true,
            ["io.containerd.grpc.v1", "cri", .., status] => {
                return if *status == "ok" {
                    Cri::Up
                } else {
                    Cri::Failed
                };
            }
            _ => {}
        }
    }
    if answered { Cri::Disabled } else { Cri::Silent }
}

/// The messages in what `ctr plugins ls -d` prints.
fn messages(output: &str) -> Vec<String> {
    let message = |line: &str| Some(line.trim().strip_prefix("Message:")?.trim().to_owned());
    output.lines().filter_map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "TYPE                      ID     PLATFORMS      STATUS    \n";

    #[test]
    fn only_the_row_of_the_plugin_tells() {
        let row = |row: &str| cri_row(&format!("{HEADER}{row}"));
        assert_eq!(
            row("io.containerd.grpc.v1     cri    linux/amd64    ok        \n"),
            Cri::Up
        );
        assert_eq!(
            row("io.containerd.grpc.v1     cri    -              error     \n"),
            Cri::Failed
        );
        assert_eq!(row(""), Cri::Disabled);
        assert_eq!(
            row("io.containerd.cri.v1    images    -    ok\n"),
            Cri::Disabled
        );
        assert_eq!(
            cri_row("ctr: failed to dial \"/run/c.sock\": context deadline exceeded\n"),
            Cri::Silent
        );
        assert_eq!(cri_row(""), Cri::Silent);
    }

    #[test]
    fn the_message_of_a_failed_plugin() {
        let output = "Type:          io.containerd.grpc.v1\nID:            cri\nError:\n  Code:        Unknown\n  \
                      Message:     invalid plugin config: `mirrors` cannot be set\n";
        assert_eq!(
            messages(output),
            ["invalid plugin config: `mirrors` cannot be set"]
        );
    }
}
