//! wrk, which sends a request as soon as the previous one is answered (closed loop).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// A script for wrk: cycles through the bodies, and prints the figures in a machine-readable form.
const SCRIPT: &str = r#"
local requests, n = {}, 0
function init(arguments)
  local headers = { ["Content-Type"] = arguments[1] }
  if arguments[2] ~= "" then headers["Content-Encoding"] = arguments[2] end
  if arguments[3] ~= "" then headers["Authorization"] = arguments[3] end
  for i = 4, #arguments do
    local file = assert(io.open(arguments[i], "rb"))
    requests[i - 3] = wrk.format("POST", nil, headers, file:read("*a"))
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

/// Bodies in files, with their type.
pub struct Bodies {
    directory: tempfile::TempDir,
    files: Vec<PathBuf>,
    content_type: &'static str,
    coding: &'static str,
    /// Empty for none.
    authorization: String,
}

impl Bodies {
    /// Bodies with this content type and coding (empty for none).
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
        Self { directory, files, content_type, coding, authorization: String::new() }
    }

    /// The same with an access key.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        Self { authorization: format!("Bearer {key}"), ..self }
    }

    fn script(&self) -> PathBuf {
        self.directory.path().join("wrk.lua")
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

/// Result of a run.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Answers with 2xx.
    pub requests: u64,
    /// Duration.
    pub duration: Duration,
    /// Half of the answers arrived within this time.
    pub p50: Duration,
    /// 99 % arrived within this time.
    pub p99: Duration,
    /// 99.9 % arrived within this time.
    pub p999: Duration,
}

impl Figures {
    /// Answers per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.duration.as_secs_f64()
    }
}

/// Sends bodies over this many connections for this long. Fails if an answer was not 2xx.
pub async fn run(url: &str, bodies: &Bodies, connections: usize, duration: Duration) -> Figures {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--timeout", "30s", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", duration.as_secs()), "--script"])
        .arg(bodies.script())
        .args([url, "--", bodies.content_type, bodies.coding, &bodies.authorization])
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
    assert_eq!(numbers[5], 0, "answers other than 2xx, or missing answers: {text}");
    let time = |index: usize| Duration::from_micros(numbers[index]);
    Figures { requests: numbers[0], duration: time(1), p50: time(2), p99: time(3), p999: time(4) }
}
