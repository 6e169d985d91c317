//! Options of `spillway send`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueHint};
use domain::event::SOURCE_BYTES_MAX;
use domain::level::Level;
use formats::{Format, Zone};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::header::{ExtraHeader, InvalidHeader, header_map};
use super::target::{InvalidVariable, Target};
use crate::credentials::{Credentials, InvalidCredentials};
use crate::http_client::HttpsFiles;
use crate::secret_argument::secret_argument;
use crate::suggested::{LEVELS, suggested};

/// Default of `--level`.
const LEVEL_DEFAULT: Level = Level::Info;
/// Default of `--offset`.
const OFFSET_DEFAULT: &str = "UTC";
/// Default of `--format`.
const FORMAT_DEFAULT: &str = "auto";
/// Maximum of `--join-wait`.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(60);
/// Maximum of `--give-up-after`.
const GIVE_UP_AFTER_MAX: Duration = Duration::from_secs(u32::MAX as u64);

/// The text after the options in `--help`.
const AFTER_HELP: &str = "\
Lines: each is an event, or joins the event before it (stack traces, statements, JSON over several lines). Levels,
times and fields are found in the lines of common formats; docs/line-formats.md lists them. Lines without a time get
the time of receipt. A line has at most 1 MiB, a message or a stack trace 256 KiB; what is longer is cut.

Inputs: text, also with NUL or bytes that are not UTF-8, and text compressed with gzip or zstd (recognised by its
first bytes, also from standard input). UTF-16, xz, bzip2, lz4, tar and ZIP are refused with the command that converts
them, and what is mostly not UTF-8. Behind headers of `tail -F a.log b.log`, lines have the source of their file.

Waiting: a batch that is not full is sent after one second. An event that later lines may join is held until the next
event begins, the input ends, or no line came for --join-wait. A last line without a line feed is awaited until the
pipe ends; in a file that was written within the last 10 s it is awaited for --join-wait.

Stopping: at the first SIGINT or SIGTERM, reading stops, and what was read from a pipe is sent within at most 5 s.
A second signal ends the run at once.

Sending again: an event of a file has an identifier that derives from the file (device and inode), its position and
everything before it. The store drops repeats within its dedup window (1 day by default): of a file that is sent
again only the new lines are stored. A file that was rewritten is new from its first line that differs; a copy is
another file, and with another --source, --level, --offset, --format or --no-join all its events are new. Events from
standard input or a pipe are always new.

Secrets: a user and password in the URL become `Authorization: Basic`, an access key `Authorization: Bearer`, or with
a user in the URL `X-API-Key`; values of --header are never shown.

Exit codes: 0 every event was accepted, 64 invalid usage, 1 anything else.";

/// Options of `spillway send`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Options {
    /// Files to send; `-` is standard input, which is also the default
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Base URL of the Spillway, also with user:password@ [env: SPILLWAY_CLIENT__URL] [default: http://127.0.0.1:8080]
    #[arg(long, visible_alias = "to", value_name = "URL", value_hint = ValueHint::Url, value_parser = secret_argument::<Target>())]
    url: Option<Target>,
    #[command(flatten)]
    credentials: Credentials,
    /// A header of every request: 'Name: value'; may be repeated, and replaces what the URL says
    #[arg(long = "header", value_name = "HEADER", value_hint = ValueHint::Other, value_parser = secret_argument::<ExtraHeader>())]
    headers: Vec<ExtraHeader>,
    /// Source of events whose lines name none [default: container or name of the file, or `stdin`]
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other, value_parser = parse_source)]
    pub source: Option<String>,
    /// Level of lines without one
    #[arg(long, default_value = LEVEL_DEFAULT.name(), hide_possible_values = true, value_parser = suggested(Level::parse, &LEVELS))]
    pub level: Level,
    /// Zone of times without one: UTC, +02:00, Europe/Berlin or local
    #[arg(long, value_name = "ZONE", default_value = OFFSET_DEFAULT, allow_hyphen_values = true)]
    pub offset: Given<Zone>,
    /// Format of the lines: a name, or a pattern such as `^(?<time>\S+) (?<level>\w+) (?<message>.*)`
    #[arg(long, value_name = "FORMAT", default_value = FORMAT_DEFAULT)]
    pub format: Given<Format>,
    /// Make every line an event, including those of stack traces
    #[arg(long)]
    pub no_join: bool,
    /// How long an event is held for lines that arrive late; 0 does not wait
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_join_wait)]
    pub join_wait: Duration,
    /// Maximum events in one request: 1 to 10000
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch: u16,
    /// How long to try without any progress; up to 40s, also how long to wait for one answer
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_give_up_after)]
    give_up_after: Duration,
    /// Print no summary if every event was accepted
    #[arg(short, long)]
    pub quiet: bool,
    /// Never give up while the server is unavailable or busy: tail -F app.log | spillway send --keep-trying
    #[arg(long, conflicts_with = "give_up_after")]
    keep_trying: bool,
}

impl Options {
    /// How long to try without any progress; `None` means without limit.
    #[must_use]
    pub fn give_up_after(&self) -> Option<Duration> {
        (!self.keep_trying).then_some(self.give_up_after)
    }

    /// The server to send to.
    ///
    /// # Errors
    /// The environment does not name a base URL.
    pub fn target(&self) -> Result<Target, InvalidVariable> {
        Target::or_default(self.url.as_ref())
    }

    /// The header with the access key, if there is one.
    ///
    /// # Errors
    /// There is no key where one should be.
    pub fn key(&self, target: &Target) -> Result<Option<(HeaderName, HeaderValue)>, InvalidCredentials> {
        self.credentials.header(target.authorization().is_some())
    }

    /// The files for https.
    #[must_use]
    pub fn https_files(&self) -> HttpsFiles {
        self.credentials.https_files()
    }

    /// The additional headers of every request.
    ///
    /// # Errors
    /// There are too many.
    pub fn headers(&self) -> Result<HeaderMap, InvalidHeader> {
        header_map(&self.headers)
    }

    /// How lines are read.
    #[must_use]
    pub fn formats(&self) -> formats::Options {
        formats::Options {
            level: self.level,
            zone: self.offset.value.clone(),
            format: self.format.value.clone(),
            join: !self.no_join,
        }
    }

    /// The options that change what is read from lines, where they differ from the defaults: names and values. The
    /// source is not among them: whether it differs depends on the file.
    #[must_use]
    pub fn changed(&self) -> Vec<(&'static str, String)> {
        let options = [
            ("level", self.level.name().to_owned(), self.level != LEVEL_DEFAULT),
            ("offset", self.offset.text.clone(), self.offset.text != OFFSET_DEFAULT),
            ("format", self.format.text.clone(), self.format.text != FORMAT_DEFAULT),
            ("no-join", String::new(), self.no_join),
        ];
        options.into_iter().filter_map(|(name, value, differs)| differs.then_some((name, value))).collect()
    }
}

/// A value, and the text that stands for it.
#[derive(Clone, Debug)]
pub struct Given<T> {
    value: T,
    text: String,
}

impl<T: FromStr> FromStr for Given<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        Ok(Self { value: text.parse()?, text: text.to_owned() })
    }
}

fn parse_source(text: &str) -> Result<String, &'static str> {
    let is_source = (1..=SOURCE_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_source { Ok(text.to_owned()) } else { Err("a source has 1 to 255 bytes and no control characters") }
}

fn parse_join_wait(text: &str) -> Result<Duration, String> {
    parse_duration(text, JOIN_WAIT_MAX)
}

fn parse_give_up_after(text: &str) -> Result<Duration, String> {
    parse_duration(text, GIVE_UP_AFTER_MAX)
}

/// A duration such as `500ms` or `1m 30s`. A number alone counts seconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| humantime::parse_duration(text).ok())
}

/// Parses a duration up to `max`.
fn parse_duration(text: &str, max: Duration) -> Result<Duration, String> {
    match duration(text) {
        Some(duration) if duration <= max => Ok(duration),
        Some(_) => Err(format!("too long: at most {}", humantime::format_duration(max))),
        None => Err("not a duration: write 500ms, 10s or 2m; a number alone counts seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        Arguments::try_parse_from([&["send"], arguments].concat()).map(|arguments| arguments.options)
    }

    #[test]
    fn options_are_checked_before_anything_is_read() {
        let read = options(&["--offset", "-05:00", "--level", "warning", "--source", "a", "--join-wait", "0", "-"]);
        let read = read.unwrap();
        assert_eq!((read.level, read.batch, read.join_wait), (Level::Warn, 1_000, Duration::ZERO));
        assert_eq!(options(&[]).unwrap().join_wait, Duration::from_secs(1));
        assert!(options(&["-q"]).unwrap().quiet && !options(&[]).unwrap().quiet);
        for wrong in [
            ["--batch", "0"],
            ["--batch", "10001"],
            ["--to", "localhost"],
            ["--level", "loud"],
            ["--source", ""],
            ["--offset", "Mars/Olympus"],
            ["--format", "("],
            ["--header", "Host: x"],
            ["--join-wait", "61s"],
            ["--join-wait", "-1s"],
        ] {
            assert!(options(&wrong).is_err(), "{wrong:?}");
        }
        for zone in ["UTC", "+02:00", "Europe/Berlin", "local"] {
            assert!(options(&["--offset", zone]).is_ok(), "{zone}");
        }
    }

    #[test]
    fn only_options_that_differ_from_the_defaults_change_events() {
        let changed = |arguments: &[&str]| options(arguments).unwrap().changed();
        assert!(changed(&["--batch", "7", "--keep-trying", "a.log"]).is_empty());
        assert!(changed(&["--level", "info", "--offset", "UTC", "--format", "auto"]).is_empty());
        let all = changed(&["--level", "warning", "--offset", "local", "--format", "json", "--no-join"]);
        let expected = [("level", "WARN"), ("offset", "local"), ("format", "json"), ("no-join", "")];
        assert_eq!(all, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn with_keep_trying_it_does_not_give_up() {
        assert_eq!(options(&[]).unwrap().give_up_after(), Some(Duration::from_secs(60)));
        assert_eq!(options(&["--keep-trying"]).unwrap().give_up_after(), None);
        assert!(options(&["--keep-trying", "--give-up-after", "5"]).is_err());
    }

    #[test]
    fn durations_have_a_unit_or_count_seconds_and_errors_say_what_to_write() {
        for (text, seconds) in [("0", 0.0), ("5", 5.0), ("500ms", 0.5), ("1m 30s", 90.0), ("0s", 0.0)] {
            let read = options(&["--give-up-after", text]).unwrap().give_up_after();
            assert_eq!(read, Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["soon", "", "5 apples", "1.5.2s"] {
            let error = options(&["--give-up-after", text]).unwrap_err().to_string();
            assert!(error.contains("write 500ms, 10s or 2m"), "{error}");
        }
    }

    #[test]
    fn errors_do_not_show_secrets_and_the_number_of_headers_is_limited() {
        for (option, value) in [("--url", "http://user:secret@"), ("--header", "secret"), ("--header", "Host: secret")]
        {
            let error = options(&[option, value]).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation);
            let text = error.to_string();
            assert!(text.contains(option) && !text.contains("secret"), "{text}");
        }
        let many = |number| options(&["--header", "X: y"].repeat(number)).unwrap().headers().map(|map| map.len());
        assert_eq!((many(1), many(20), many(21)), (Ok(1), Ok(20), Err(InvalidHeader::TooMany)));
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(Arguments::command().render_help().to_string().contains(AFTER_HELP));
        assert!(AFTER_HELP.lines().count() < 30 && AFTER_HELP.lines().all(|line| line.chars().count() <= 120));
    }
}
