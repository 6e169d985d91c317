//! wrk, which sends as fast as it gets answers (closed loop).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// What wrk does, beside HTTP itself: takes the bodies in turn, and prints its figures in a form that can be read.
const SCRIPT: &str = r#"
local requests, n = {}, 0
function init(arguments)
  local headers = { ["Content-Type"] = arguments[1] }
  if arguments[2] ~= "" then headers["Content-Encoding"] = arguments[2] end
  for i = 3, #arguments do
    local file = assert(io.open(arguments[i], "rb"))
    requests[i - 2] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
  n = math.random(#requests)
end
function request()
  n = n % #requests + 1
  return requests[n]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), latency:percentile(99.9), e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// Bodies in files, and what they are.
pub struct Bodies {
    directory: tempfile::TempDir,
    files: Vec<PathBuf>,
    content_type: &'static str,
    coding: &'static str,
}

impl Bodies {
    /// These bodies, of this type and coding (empty for none).
    #[must_use]
    pub fn new(bodies: &[impl AsRef<[u8]>], content_type: &'static str, coding: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |(n, body): (usize, &_)| {
            let file = directory.path().join(format!("body-{n}"));
            std::fs::write(&file, AsRef::<[u8]>::as_ref(body)).expect("a file");
            file
        };
        let files = bodies.iter().enumerate().map(write).collect();
        std::fs::write(directory.path().join("wrk.lua"), SCRIPT).expect("a file");
        Self { directory, files, content_type, coding }
    }

    fn script(&self) -> PathBuf {
        self.directory.path().join("wrk.lua")
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Answers with 2xx.
    pub requests: u64,
    /// How long it took.
    pub duration: Duration,
    /// Half of the answers came within this time.
    pub p50: Duration,
    /// 99 of 100 did.
    pub p99: Duration,
    /// 999 of 1,000 did.
    pub p999: Duration,
}

impl Figures {
    /// Answers a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.duration.as_secs_f64()
    }
}

/// Sends bodies over so many connections for so long. Fails if an answer was none of 2xx.
pub async fn run(url: &str, bodies: &Bodies, connections: usize, duration: Duration) -> Figures {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--timeout", "30s", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", duration.as_secs()), "--script"])
        .arg(bodies.script())
        .args([url, "--", bodies.content_type, bodies.coding])
        .args(bodies.files())
        .kill_on_drop(true);
    let output = command.output().await.expect("wrk runs: scripts/bench installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("figures "));
    let numbers: Vec<u64> = line
        .unwrap_or_else(|| panic!("wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr)))
        .split(' ')
        .map(|number| number.parse().expect("a number"))
        .collect();
    assert_eq!(numbers[5], 0, "answers that were none of 2xx, or none at all: {text}");
    let time = |index: usize| Duration::from_micros(numbers[index]);
    Figures { requests: numbers[0], duration: time(1), p50: time(2), p99: time(3), p999: time(4) }
}
