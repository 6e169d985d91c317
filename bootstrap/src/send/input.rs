//! The inputs: files, pipes and standard input, compressed or not.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use domain::timestamp::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::content::{Content, Foreign, Head, recognize};
use super::decompression::Decompressed;
use super::event_id::FileId;
use super::lines::Lines;
use super::source::Source;
use super::summary::grouped;

/// The file name that means standard input.
const STDIN: &str = "-";
/// A file that was modified within this time may still be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// A file, or standard input.
pub struct Input {
    /// Name for display.
    pub name: Arc<str>,
    /// Source of events whose lines name none.
    pub source: Source,
    /// Whether an option names the source, and not the path.
    pub source_is_given: bool,
    /// The source that an option names instead of another one: part of the identity of the events.
    pub other_source: Option<String>,
    /// `None` means standard input.
    path: Option<PathBuf>,
}

/// An opened input.
pub struct Opened {
    /// Its lines.
    pub lines: Lines<Box<dyn AsyncRead + Unpin>>,
    /// The identity that makes its lines recognisable as repeats; pipes have none.
    pub file: Option<FileId>,
}

/// Why an input cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The system or a decoder says so.
    Failed(io::Error),
    /// It is not a log.
    Foreign(&'static Foreign),
    /// Most of it is not UTF-8 text.
    Binary,
    /// It is a directory.
    Directory,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Input {
    /// The inputs of these names, or standard input.
    #[must_use]
    pub fn all(files: &[PathBuf], source: Option<&String>) -> Vec<Self> {
        let stdin = [PathBuf::from(STDIN)];
        let paths = if files.is_empty() { &stdin[..] } else { files };
        paths.iter().map(|path| Self::new(path, source.cloned())).collect()
    }

    fn new(path: &Path, given: Option<String>) -> Self {
        let (name, path, default) = if path.as_os_str() == STDIN {
            ("standard input".into(), None, Source::named("stdin"))
        } else {
            (path.display().to_string().into(), Some(path.to_owned()), Source::of_file(path))
        };
        let other_source = given.clone().filter(|given| *given != default.name);
        let source_is_given = given.is_some();
        let source = Source { name: given.unwrap_or(default.name), pod: default.pod };
        Self { name, source, source_is_given, other_source, path }
    }

    /// Whether it is standard input.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        self.path.is_none()
    }

    /// Its name without directories.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.path.as_ref().and_then(|path| path.file_name()?.to_str()).unwrap_or(&self.name)
    }

    /// Opens the input. Bytes that are read from it, compressed or not, are added to `bytes_read`. The end of the last
    /// line of a file that may still be written is awaited for `growth_wait`.
    ///
    /// # Errors
    /// The file does not exist or cannot be read, or is not a log.
    pub async fn open(
        &self,
        bytes_read: &Arc<AtomicU64>,
        growth_wait: Duration,
        now: Timestamp,
    ) -> Result<Opened, Unreadable> {
        let bytes_read = Arc::clone(bytes_read);
        let Some(path) = &self.path else {
            let lines = lines_of(Counted { input: tokio::io::stdin(), bytes_read }, false, None).await?;
            return Ok(Opened { lines, file: None });
        };
        let input = File::open(path).await?;
        let metadata = input.metadata().await?;
        if metadata.is_dir() {
            return Err(Unreadable::Directory);
        }
        let may_grow = metadata.is_file() && metadata.modified().is_ok_and(|time| is_recent(time, now));
        let counted = Counted { input, bytes_read };
        let lines = lines_of(counted, metadata.is_file(), may_grow.then_some(growth_wait)).await?;
        Ok(Opened { lines, file: FileId::of(&metadata) })
    }

    /// What to say about an input that cannot be read, with what to do about it. `lines` were read before.
    #[must_use]
    pub fn report(&self, reason: &Unreadable, lines: u64) -> String {
        let name = &self.name;
        let file = if self.is_stdin() { "FILE".to_owned() } else { shell_word(name) };
        let source = if self.is_stdin() && !self.source_is_given { "NAME" } else { self.source.name.as_str() };
        let send = format!("spillway send --source {}", shell_word(source));
        match reason {
            Unreadable::Foreign(Foreign { name: content, converter: Some(converter) }) => {
                format!("cannot read {name}: it is {content}; run {converter} {file} | {send}")
            }
            Unreadable::Binary => format!(
                "cannot read {name}: most of it is not UTF-8 text; if it is text of another encoding, run \
                 iconv -f ENCODING -t UTF-8 {file} | {send}, otherwise leave it out"
            ),
            Unreadable::Directory => format!(
                "cannot read {name}: it is a directory; run \
                 find {file} -type f -name '*.log' -exec spillway send {{}} +"
            ),
            Unreadable::Foreign(Foreign { name: content, converter: None }) => {
                format!("cannot read {name}: it is {content}, which has no lines; leave it out")
            }
            Unreadable::Failed(error) if lines > 0 => {
                let lines = grouped(lines);
                format!("cannot read {name} to its end: {error}; the lines before that are sent ({lines})")
            }
            Unreadable::Failed(error) => format!("cannot read {name}: {error}"),
        }
    }
}

/// Whether a file that was modified at `time` may still be written. Clocks of file servers may be ahead.
fn is_recent(time: std::time::SystemTime, now: Timestamp) -> bool {
    let modified_micros = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now_micros = u128::try_from(now.unix_micros()).unwrap_or(0);
    modified_micros + WRITTEN_WITHIN.as_micros() >= now_micros
}

/// The lines of an input with any readable content. A compressed file is complete.
async fn lines_of<R: AsyncRead + Unpin + 'static>(
    mut input: R,
    is_file: bool,
    growth_wait: Option<Duration>,
) -> Result<Lines<Box<dyn AsyncRead + Unpin>>, Unreadable> {
    let head = recognize(&mut input, is_file).await?;
    let content = head.content;
    let input = behind(head, input);
    let mut decompressed: Box<dyn AsyncRead + Unpin> = match content {
        Content::Text => return Ok(Lines::new(input, growth_wait)),
        Content::Gzip => Box::new(Decompressed::gzip(input)),
        Content::Zstd => Box::new(Decompressed::zstd(input)?),
        Content::Foreign(foreign) => return Err(Unreadable::Foreign(foreign)),
        Content::Binary => return Err(Unreadable::Binary),
    };
    let head = recognize(&mut decompressed, is_file).await?;
    match head.content {
        Content::Foreign(foreign) => Err(Unreadable::Foreign(foreign)),
        Content::Binary => Err(Unreadable::Binary),
        // What is compressed twice is not decompressed twice.
        Content::Text | Content::Gzip | Content::Zstd => Ok(Lines::new(behind(head, decompressed), None)),
    }
}

/// The whole input, whose beginning was read.
fn behind(head: Head, rest: impl AsyncRead + Unpin + 'static) -> Box<dyn AsyncRead + Unpin> {
    Box::new(Cursor::new(head.bytes).chain(Failure(head.failure)).chain(rest))
}

/// Fails, if there is an error, and has no bytes.
struct Failure(Option<io::Error>);

impl AsyncRead for Failure {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.take().map_or(Ok(()), Err))
    }
}

/// Quotes a text for a shell, if necessary.
fn shell_word(text: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "._-/".contains(character);
    if text.chars().all(is_plain) && !text.is_empty() {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    input: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buffer.filled().len());
        ready!(Pin::new(&mut this.input).poll_read(context, buffer))?;
        this.bytes_read.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// The total size of all inputs, compressed or not, if all are files: pipes have no size.
pub async fn bytes_total(inputs: &[Input]) -> Option<u64> {
    let mut total = 0;
    for input in inputs {
        match tokio::fs::metadata(input.path.as_ref()?).await {
            Ok(metadata) if metadata.is_file() => total += metadata.len(),
            Ok(_) => return None,
            // Reported when the input is opened.
            Err(_) => {}
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_names_another_source_than_the_path_does() {
        let inputs = |source: Option<&str>| {
            let paths = ["a.log", "-", "/var/log/pods/shop_web-0_5f1c/cart/0.log"].map(PathBuf::from);
            let inputs = Input::all(&paths, source.map(str::to_owned).as_ref());
            let of =
                |input: &Input| (input.source.name.clone(), input.other_source.clone(), input.source.pod.is_some());
            inputs.iter().map(of).collect::<Vec<_>>()
        };
        let [a, stdin, cart] = ["a", "stdin", "cart"].map(str::to_owned);
        assert_eq!(inputs(None), [(a.clone(), None, false), (stdin, None, false), (cart, None, true)]);
        let given = (a.clone(), Some(a.clone()));
        let expected = [(a.clone(), None, false), (given.0.clone(), given.1.clone(), false), (given.0, given.1, true)];
        assert_eq!(inputs(Some("a")), expected);
    }

    #[test]
    fn only_a_file_that_was_just_written_may_grow() {
        let now = Timestamp::from_unix_micros(1_705_314_600_000_000).unwrap();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, recent) in
            [(1_705_314_589, false), (1_705_314_590, true), (1_705_314_600, true), (1_705_318_200, true), (0, false)]
        {
            assert_eq!(is_recent(at(seconds), now), recent, "{seconds}");
        }
    }

    #[tokio::test]
    async fn foreign_content_is_refused_with_what_to_do() {
        let advice = async |content: &'static [u8], files: &[PathBuf]| {
            let reason = lines_of(content, true, None).await.err().unwrap();
            Input::all(files, None)[0].report(&reason, 0)
        };
        let utf_16 = "cannot read a.log: it is UTF-16 text; \
                      run iconv -f UTF-16 -t UTF-8 a.log | spillway send --source a";
        assert_eq!(advice(b"\xFF\xFEa\0\n\0", &["a.log".into()]).await, utf_16);
        let quoted = r"run unzip -p 'it'\''s b.log' | spillway send --source 'it'\''s b'";
        assert!(advice(b"PK\x03\x04", &["it's b.log".into()]).await.ends_with(quoted));
        static RANDOM: [u8; 1_000] = [0xFF; 1_000];
        assert!(advice(&RANDOM[2..], &["a".into()]).await.contains("run iconv -f ENCODING -t UTF-8 a | spillway"));
        let directory = Input::all(&["my logs".into()], None)[0].report(&Unreadable::Directory, 0);
        assert!(
            directory.ends_with("run find 'my logs' -type f -name '*.log' -exec spillway send {} +"),
            "{directory}"
        );
        assert!(advice(b"\xFD7zXZ\0", &[]).await.ends_with("run xzcat FILE | spillway send --source NAME"));
        let program = "cannot read a: it is a program, which has no lines; leave it out";
        assert_eq!(advice(b"\x7FELF\x02", &["a".into()]).await, program);
    }

    #[test]
    fn an_input_that_ends_early_is_told_from_one_that_cannot_be_read() {
        let input = Input::all(&["a.gz".into()], None).remove(0);
        let damaged = Unreadable::Failed(io::Error::other("its gzip data is damaged"));
        let early = "cannot read a.gz to its end: its gzip data is damaged; the lines before that are sent (1,200)";
        assert_eq!(input.report(&damaged, 1_200), early);
        assert_eq!(input.report(&damaged, 0), "cannot read a.gz: its gzip data is damaged");
    }
}
