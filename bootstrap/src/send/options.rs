//! Options of `spillway send`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use domain::level::Level;
use time::UtcOffset;

use super::members::is_source;
use super::target::Target;
use super::times::parse_offset;

/// The text after the options in `--help`.
const AFTER_HELP: &str = "\
Lines: one event each, without empty ones. A line has at most 1 MiB, a message or a stack trace 256 KiB. Input that
is compressed, binary or UTF-16 is refused. A batch that is not full is sent after one second.

Stack traces: indented lines, `Caused by:`, `Traceback` and names of exceptions join the event before them as its
stackTrace.

Levels: ERROR as a word, [error], [core:error], [E], level=error, `error: …` and `W/Tag: …` at the very start, `error`
directly after the time, syslog's <34>, klog's E0115. Known are TRACE, DEBUG, INFO, WARN, ERROR, FATAL, verbose,
information, notice, warning, err, severe, crit, critical, alert, emerg, emergency, panic and dpanic.

Times: 2024-01-15T10:30:00.123Z, 2024-01-15 10:30:00,123 +0200, 2024/01/15 10:30:00, 15.01.2024 10:30:00,
15/Jan/2024:10:30:00 -0700, Mon, 15 Jan 2024 10:30:00 GMT, Jan 15 10:30:00, I0115 10:30:00.123456, and seconds since
1970 at the very start. Other lines get the time of receipt.

JSON lines: the other members become metadata, and a.b is also b within a.
  level        level severity lvl loglevel log.level levelname @l
  message      message msg log event text @m @mt body jsonPayload.message textPayload
  timestamp    timestamp time ts @timestamp datetime @t asctime eventTime
  source       source service app service.name
  stackTrace   stackTrace stack_trace exc_info exception @x error.stack_trace err.stack stack
  others       eventId, traceId trace_id trace.id, spanId span_id span.id

Sending a file again: an event is identified by its file, its line number and its text. The store drops repeats
within its dedup window (1 day by default): a file that is sent twice is stored once, and of a file that has grown
only the new lines. A copy is another file; a file that was truncated and rewritten is the same. Events from
standard input or a pipe are always new.";

/// Options of `spillway send`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Options {
    /// Files to send; `-` is standard input, which is also the default
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Base URL of the Spillway to send to
    #[arg(long, visible_alias = "url", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: Target,
    /// Source of events without one [default: name of the file without its last extension, or `stdin`]
    #[arg(long, value_name = "NAME", value_parser = parse_source)]
    pub source: Option<String>,
    /// Level of lines without one
    #[arg(long, default_value = "INFO", value_parser = Level::parse)]
    pub level: Level,
    /// Zone of times without one: with +02:00, times such as 10:30:00 are two hours ahead of UTC
    #[arg(long, default_value = "UTC", value_parser = parse_offset, allow_hyphen_values = true)]
    pub offset: UtcOffset,
    /// Make every line an event, including those of stack traces
    #[arg(long)]
    pub no_join: bool,
    /// Maximum events in one request: 1 to 10000
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch: u16,
    /// How long to try without any progress; up to 40, also how long to wait for one answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    give_up_after: u32,
    /// Never give up while the server is unavailable or busy: tail -F app.log | spillway send --keep-trying
    #[arg(long, conflicts_with = "give_up_after")]
    keep_trying: bool,
}

impl Options {
    /// How long to try without any progress; `None` means without limit.
    #[must_use]
    pub fn give_up_after(&self) -> Option<Duration> {
        (!self.keep_trying).then(|| Duration::from_secs(self.give_up_after.into()))
    }
}

fn parse_source(text: &str) -> Result<String, &'static str> {
    if is_source(text) { Ok(text.to_owned()) } else { Err("a source has 1 to 255 bytes and no control characters") }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::members::{LEVEL, MESSAGE, SOURCE, TIMESTAMP};
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
        let options_read = options(&["--offset", "-05:00", "--level", "warning", "--source", "a", "-"]).unwrap();
        assert_eq!(
            (options_read.offset.whole_hours(), options_read.level, options_read.batch),
            (-5, Level::Warn, 1_000)
        );
        for wrong in
            [["--batch", "0"], ["--batch", "10001"], ["--to", "localhost"], ["--level", "loud"], ["--source", ""]]
        {
            assert!(options(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn with_keep_trying_it_does_not_give_up() {
        assert_eq!(options(&[]).unwrap().give_up_after(), Some(Duration::from_secs(60)));
        assert_eq!(options(&["--keep-trying"]).unwrap().give_up_after(), None);
        assert!(options(&["--keep-trying", "--give-up-after", "5"]).is_err());
    }

    #[test]
    fn the_help_names_every_member_and_fits_a_terminal() {
        let help = Arguments::command().render_help().to_string();
        assert!(help.contains(AFTER_HELP));
        for names in [LEVEL, MESSAGE, TIMESTAMP, SOURCE] {
            assert!(AFTER_HELP.contains(&format!(" {}\n", names.join(" "))), "{names:?}");
        }
        assert!(AFTER_HELP.lines().count() < 30 && AFTER_HELP.lines().all(|line| line.chars().count() <= 120));
    }
}
