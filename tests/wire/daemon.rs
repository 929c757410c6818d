//! Real containerd daemons: which ones are here, and one run of one of them on a node's tree.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::{env, fmt, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::compare::{Event, folded};
use crate::cri::{self, Answer};
use crate::proxy::{Recorder, Role};
use crate::world::World;

/// A containerd that `tests/containerd.sh` installed.
#[derive(Clone, Debug)]
pub(crate) struct Containerd {
    /// Where it comes from: a suite of Debian, or a release line of containerd's own.
    pub(crate) suite: String,
    /// Such as `1.6.20`, without a distribution's suffix.
    pub(crate) version: String,
    /// Major and minor.
    pub(crate) generation: (u32, u32),
    binaries: PathBuf,
}

impl fmt::Display for Containerd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "containerd {}", self.version)
    }
}

impl Containerd {
    /// The version, and whose build it is where that is not containerd's own: `2.1.9-debian`.
    pub(crate) fn build(&self) -> String {
        let is_own = self
            .suite
            .starts_with(|letter: char| letter.is_ascii_digit());
        let suffix = if is_own { "" } else { "-debian" };
        format!("{}{suffix}", self.version)
    }
}

/// The daemons that are here and start, oldest first, and a line for each one that does not.
///
/// With `WIRE_RELEASE` it is that release alone, which `tests/release.sh` built, and for a 2.x the newest 1.x that is
/// here: nodes are migrated from it.
pub(crate) fn available() -> (Vec<Containerd>, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/containerd");
    let (mut found, skipped) = installed(&folder);
    if let Some(release) = env::var_os("WIRE_RELEASE") {
        let (mut one, _) = installed(&folder.join("releases"));
        one.retain(|daemon| *daemon.version == *release);
        assert!(!one.is_empty(), "run tests/release.sh");
        if one.iter().any(|daemon| daemon.generation.0 >= 2) {
            found.retain(|daemon| daemon.generation.0 == 1);
            one.splice(..0, found.pop());
        }
        return (one, Vec::new());
    }
    (found, skipped)
}

/// The daemons in the subdirectories of a folder.
fn installed(folder: &Path) -> (Vec<Containerd>, Vec<String>) {
    let mut found: Vec<Containerd> = Vec::new();
    let mut skipped = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let suite = entry.file_name().to_string_lossy().into_owned();
        let binaries = entry.path().join("usr/bin");
        if !binaries.join("containerd").exists() {
            continue;
        }
        let output = Command::new(binaries.join("containerd"))
            .arg("--version")
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        // containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3
        let word = text
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
            .nth(2);
        let version: String = word
            .unwrap_or_default()
            .trim_start_matches('v')
            .chars()
            .take_while(|letter| letter.is_ascii_digit() || *letter == '.')
            .collect();
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => {
                found.push(Containerd {
                    suite,
                    version,
                    generation: (major, minor),
                    binaries,
                });
            }
            _ => skipped.push(format!("containerd of {suite} does not start here")),
        }
    }
    found.sort_by_key(|daemon| {
        let patch: Option<u32> = daemon
            .version
            .split('.')
            .nth(2)
            .and_then(|patch| patch.parse().ok());
        (
            daemon.generation,
            patch,
            daemon.build(),
            daemon.suite.clone(),
        )
    });
    found.dedup_by_key(|daemon| daemon.build());
    (found, skipped)
}

/// So many daemons run at one time for each core, whatever the number of daemons and tests: they wait about as much as
/// they work, and with more of them a boot or a pull would come near its deadline.
const DAEMONS_PER_CORE: usize = 3;

/// How many daemons run.
static RUNNING: Mutex<usize> = Mutex::new(0);
static ONE_LESS: Condvar = Condvar::new();

/// The permission to run one daemon.
struct Slot;

impl Slot {
    fn wait() -> Slot {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let running = RUNNING.lock().unwrap();
        let is_full = |running: &mut usize| *running >= cores * DAEMONS_PER_CORE;
        *ONE_LESS.wait_while(running, is_full).unwrap() += 1;
        Slot
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap() -= 1;
        ONE_LESS.notify_one();
    }
}

/// How far a daemon came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    Booted,
    /// It runs, without CRI: the log line that says why.
    CriRefused(String),
    /// The last line of its log.
    DidNotStart(String),
}

/// One pull of a run.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    pub(crate) image: String,
    /// What the daemon tried, repeats folded away.
    pub(crate) events: Vec<Event>,
    pub(crate) answer: Answer,
}

/// What one run of a daemon showed.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) daemon: Containerd,
    pub(crate) boot: Boot,
    pub(crate) pulls: Vec<Pull>,
    log: String,
}

impl Run {
    /// The lines of the daemon's log that tell about registries, shortened.
    pub(crate) fn log_that_matters(&self) -> String {
        let topics = [
            "registr",
            "mirror",
            "config_path",
            "hosts",
            "host=",
            "PullImage",
            "tls",
        ];
        let noise = [
            "loading plugin",
            "skip loading",
            "starting cri plugin",
            "Start cri plugin",
        ];
        let matters = |line: &&str| {
            let alarming = ["level=error", "level=fatal"]
                .iter()
                .any(|level| line.contains(level));
            (alarming || topics.iter().any(|topic| line.contains(topic)))
                && !noise.iter().any(|noise| line.contains(noise))
                && !line.contains("cni")
        };
        let lines = self.log.lines().filter(matters).take(40);
        lines
            .map(|line| format!("    {}\n", line.chars().take(400).collect::<String>()))
            .collect()
    }
}

/// Runs a daemon on a node's tree, when its turn comes, and pulls the images one after the other.
pub(crate) fn run(daemon: &Containerd, node: &Path, world: &Arc<World>, images: &[String]) -> Run {
    let _slot = Slot::wait();
    // A thread of its own, since it enters the daemon's network namespace and never leaves it.
    thread::scope(|scope| {
        scope
            .spawn(|| Process::start(daemon, node, world).pull_all(world, images))
            .join()
            .unwrap()
    })
}

struct Process {
    daemon: Containerd,
    child: Child,
    boot: Boot,
    proxy_port: u16,
    shared: PathBuf,
    log: PathBuf,
    /// Removed when it is dropped.
    _folder: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has its own state only, so it needs no farewell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(daemon: &Containerd, node: &Path, world: &World) -> Process {
        let folder = temporary_folder();
        let root = folder.path().join("root");
        let shared = folder.path().join("shared");
        let log = folder.path().join("log");
        fs::create_dir(&root).unwrap();
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("system.pem"), world.certificates.system_pem()).unwrap();
        let proxy_port = (3128..).find(|port| !world.ports.contains(port)).unwrap();
        let proxy = format!("http://127.0.0.1:{proxy_port}");

        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "sh",
                "-c",
                include_str!("namespace.sh"),
                "wire",
            ])
            .args([&root, node, &daemon.binaries, &shared, &world.config])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HTTP_PROXY", &proxy)
            .env("HTTPS_PROXY", &proxy)
            .env("SSL_CERT_FILE", "/wire/system.pem")
            .env("SSL_CERT_DIR", "/wire/none")
            // It lives for a second; collecting garbage is a fifth of its work.
            .env("GOGC", "off")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        let _ = BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line);
        assert_eq!(
            first_line.trim(),
            "ready",
            "no namespace for {daemon}: {}",
            fs::read_to_string(&log).unwrap()
        );
        let network = File::open(format!("/proc/{}/ns/net", child.id())).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();

        let mut process = Process {
            daemon: daemon.clone(),
            child,
            boot: Boot::Booted,
            proxy_port,
            shared,
            log,
            _folder: folder,
        };
        process.boot = process.wait_for_boot();
        process
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn wait_for_boot(&mut self) -> Boot {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            let log = self.log();
            if log.contains("containerd successfully booted") {
                let refused = log.lines().find(|line| {
                    line.contains("failed to load plugin")
                        && (line.contains("io.containerd.grpc.v1.cri")
                            || line.contains("io.containerd.cri.v1."))
                });
                return refused.map_or(Boot::Booted, |line| Boot::CriRefused(line.to_string()));
            }
            if ended || Instant::now() > deadline {
                return Boot::DidNotStart(log.lines().last().unwrap_or_default().to_string());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn pull_all(self, world: &Arc<World>, images: &[String]) -> Run {
        let mut pulls = Vec::new();
        if self.boot == Boot::Booted {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime.unwrap(), async {
                let recorder = Recorder::new(Arc::clone(world));
                let roles = [(self.proxy_port, Role::Proxy)].into_iter();
                let loopback = world.ports.iter().map(|port| (*port, Role::Loopback));
                for (port, role) in roles.chain(loopback) {
                    // All addresses: in this namespace there is nothing but loopback.
                    let listener = TcpListener::bind(("::", port)).unwrap();
                    listener.set_nonblocking(true).unwrap();
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    tokio::task::spawn_local(std::rc::Rc::clone(&recorder).serve(listener, role));
                }
                for image in images {
                    let answer = self.pull(image, world.patience).await;
                    let events = folded(&recorder.take().await);
                    pulls.push(Pull {
                        image: image.clone(),
                        events,
                        answer,
                    });
                }
            });
        }
        Run {
            daemon: self.daemon.clone(),
            boot: self.boot.clone(),
            pulls,
            log: self.log(),
        }
    }

    async fn pull(&self, image: &str, patience: Duration) -> Answer {
        let socket = self.shared.join("socket");
        let deadline = Instant::now() + patience;
        loop {
            let limit = deadline.saturating_duration_since(Instant::now());
            let answer = match tokio::time::timeout(limit, cri::pull(&socket, image)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => Answer::Failed(format!("no answer: {error}")),
                Err(_) => return Answer::None,
            };
            // CRI answers so for some milliseconds after the boot.
            match &answer {
                Answer::Failed(text) if text.contains("not initialized yet") => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                _ => return answer,
            }
        }
    }
}

/// A folder below `target` that is removed when it is dropped; elsewhere if a socket's path, which
/// must be shorter than 108 bytes, would be too long.
pub(crate) fn temporary_folder() -> TempDir {
    let below_target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut builder = tempfile::Builder::new();
    builder.prefix("wire-");
    if below_target.as_os_str().len() < 70 {
        return builder.tempdir_in(below_target).unwrap();
    }
    builder.tempdir().unwrap()
}
