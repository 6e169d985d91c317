//! Which lines join the event before them.
//!
//! * A line with a level or a time at its head begins an event, unless a report of several lines says otherwise.
//! * Of all others, a line joins by its shape and by what came before it: the lines of a trace, a message of several
//!   lines, a report of a runtime. A line that fits nothing is an event of its own.
//! * Text is kept up to the limit of a stack trace; what is beyond it is cut, and a note says so.

mod pretty;
pub mod shape;

use domain::event::TEXT_BYTES_MAX;
use domain::level::Level;

use self::pretty::{Added, Pretty};
use self::shape::{Crash, Shape, is_frame};
use crate::draft::Draft;
use crate::json;
use crate::limits::{CUT_NOTE, bounded};
use crate::reading::{Kind, Reading};
use crate::times::{self, Clock};

/// Most lines without a shape of their own that a message of an exception may have.
const MESSAGE_LINES_MAX: u32 = 10;
/// Most lines of a report whose end is marked.
const REPORT_LINES_MAX: u32 = 500;
/// Most lines that Node.js prints before the frames: the code, and an error of several lines.
const NODE_LINES_MAX: u32 = 20;

/// What the lines so far let expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// Nothing in particular.
    Nothing,
    /// Frames of Python, then the exception.
    PythonFrames,
    /// A further traceback of Python.
    PythonTraceback,
    /// The message of an exception goes on, or its frames follow.
    Message(u32),
    /// A dump of Go.
    Go,
    /// The message of a panic of Rust, in the next line.
    RustMessage,
    /// The code, the error and the frames that Node.js prints, up to its version.
    Node(u32),
    /// Anything up to `==7==ABORTING`: the report of a sanitizer.
    Sanitizer(u32),
    /// Anything up to an empty line: a report of Erlang.
    UpToEmptyLine(u32),
    /// Anything up to `]]`: the message of GlassFish.
    UpToBrackets(u32),
    /// A level and a colon, as java.util.logging and tinylog print in a second line.
    LevelLine,
}

/// Whether a line joined.
#[derive(Debug)]
pub enum Outcome {
    /// It is a part of the event.
    Joined,
    /// It begins another event; with what it says, if that had to be read.
    Apart(Option<Box<Reading>>),
}

/// An event that further lines may join.
#[derive(Debug)]
pub struct Joined {
    draft: Draft,
    kind: Kind,
    has_time: bool,
    expect: Expect,
    /// Whether the event begins with a crash or an exception.
    crash: Option<Crash>,
    is_exception: bool,
    stack: String,
    pretty: Option<Pretty>,
    /// Whether an empty line came since the last line.
    after_empty: bool,
    is_closed: bool,
}

impl Joined {
    /// The event that a line begins.
    pub fn begin(line: &str, reading: Reading) -> Self {
        let Reading { mut draft, mut kind, has_time } = reading;
        let pretty = if kind == Kind::Structured { None } else { Pretty::begin(line) };
        let shape = match Shape::of(line) {
            _ if kind == Kind::Structured || pretty.is_some() => Shape::Other,
            Shape::Indented if is_syntax_error(line) => Shape::Crash(Crash::Python),
            Shape::End if is_signal(line) => Shape::Crash(Crash::Cpp),
            shape => shape,
        };
        let mut crash = None;
        let is_exception = matches!(shape, Shape::Exception { .. });
        match shape {
            Shape::Crash(which) => {
                crash = Some(which);
                draft.level = draft.level.max(Some(which.level()));
            }
            Shape::Exception { .. } | Shape::Goroutine => draft.level = draft.level.or(Some(Level::Error)),
            _ => {}
        }
        if is_exception || crash.is_some() {
            kind = Kind::Bare;
        }
        let expect = expected(line, &draft, shape, kind, has_time);
        Self {
            draft,
            kind,
            has_time,
            expect,
            crash,
            is_exception,
            stack: String::new(),
            pretty,
            after_empty: false,
            is_closed: false,
        }
    }

    /// An empty line came. It never becomes an event, and joins only if a further line does.
    pub fn empty_line(&mut self) {
        self.after_empty = true;
        if matches!(self.expect, Expect::UpToEmptyLine(_)) {
            self.is_closed = true;
        }
    }

    /// Adds the line, if it joins. `reading` reads it, if that is needed.
    pub fn add(&mut self, line: &str, clock: Clock<'_>, reading: impl FnOnce() -> Reading) -> Outcome {
        if self.is_closed {
            return Outcome::Apart(None);
        }
        if let Some(pretty) = &mut self.pretty {
            return match pretty.add(line) {
                Added::More => Outcome::Joined,
                Added::End => {
                    self.end_pretty(clock);
                    Outcome::Joined
                }
                Added::Not => {
                    self.end_pretty(clock);
                    Outcome::Apart(None)
                }
            };
        }
        if self.kind == Kind::Structured {
            return Outcome::Apart(None);
        }
        let shape = Shape::of(line);
        if shape == Shape::Indented {
            if !self.joins_indented(line, clock) {
                return Outcome::Apart(None);
            }
            let is_frame = is_frame(line);
            if is_frame && matches!(self.expect, Expect::Message(_)) {
                self.expect = Expect::Nothing;
            }
            self.push(line, is_frame);
            return Outcome::Joined;
        }
        if self.joins_by_shape(line, shape) {
            self.push_shaped(line, shape);
            return Outcome::Joined;
        }
        if self.expect == Expect::Nothing {
            return Outcome::Apart(None);
        }
        let reading = reading();
        if !self.joins_as_expected(line, &reading) {
            return Outcome::Apart(Some(Box::new(reading)));
        }
        self.push_expected(line, &reading);
        Outcome::Joined
    }

    /// An indented line joins, unless it is a JSON object or has a time: some logs indent everything.
    fn joins_indented(&self, line: &str, clock: Clock<'_>) -> bool {
        let inner = line.trim_start();
        if is_syntax_error(line) && self.expect != Expect::PythonFrames && self.stack.is_empty() && self.crash.is_none()
        {
            return false;
        }
        let has_time = times::at(inner.trim_start_matches('['), 0, clock).is_some_and(|time| time.has_day);
        let is_object = inner.starts_with('{') && json::object(inner).is_some();
        !has_time && !is_object
    }

    fn joins_by_shape(&self, line: &str, shape: Shape) -> bool {
        let has_trace = !self.stack.is_empty();
        let in_trace = has_trace || self.crash.is_some() || self.is_exception;
        let failed = self.draft.level >= Some(Level::Warn);
        let awaits_trace = !in_trace && (failed || (self.has_time && self.draft.level.is_none()));
        let in_go = self.crash == Some(Crash::Go) || self.expect == Expect::Go;
        match shape {
            Shape::Continuation => in_trace || failed || (self.has_time && self.draft.level.is_none()),
            Shape::Chain => in_trace,
            Shape::Goroutine => in_go || awaits_trace || failed,
            Shape::GoDump => in_go,
            Shape::Class => awaits_trace && failed && self.has_time,
            Shape::GoFunction => in_go || (failed && self.has_time),
            Shape::Closing => has_trace || self.draft.message.contains('\n'),
            Shape::End => match self.crash {
                Some(crash) => ends_crash(crash, line),
                None => has_trace && (in_go || line.starts_with("thrown in ")),
            },
            Shape::Crash(Crash::Go) => in_go || (awaits_trace && failed),
            Shape::Crash(Crash::Elixir) => !has_trace && (failed || self.crash == Some(Crash::Elixir)),
            Shape::Crash(Crash::Node) => awaits_trace && failed && self.has_time,
            Shape::Crash(_) => (awaits_trace && failed) || self.expect == Expect::PythonTraceback,
            Shape::Exception { qualified } => {
                self.expect == Expect::PythonFrames
                    || matches!(self.expect, Expect::Node(_) | Expect::RustMessage)
                    || (!in_trace && (failed || self.has_time) && (qualified || (failed && self.has_time)))
            }
            // The virtual machine of Java begins each line of its report so.
            Shape::Other => self.draft.message.starts_with("# A fatal error") && line.starts_with('#'),
            Shape::Indented => false,
        }
    }

    fn push_shaped(&mut self, line: &str, shape: Shape) {
        if self.draft.level.is_none() && matches!(shape, Shape::Goroutine | Shape::Exception { .. } | Shape::Crash(_)) {
            self.draft.level = Some(Level::Error);
        }
        let was_python = self.expect == Expect::PythonFrames;
        self.expect = match shape {
            Shape::Crash(Crash::Python) => Expect::PythonFrames,
            Shape::Crash(Crash::Rust) => Expect::RustMessage,
            Shape::Crash(Crash::Go) | Shape::Goroutine => Expect::Go,
            Shape::Chain => Expect::PythonTraceback,
            Shape::Exception { .. } if matches!(self.expect, Expect::Node(_)) => self.expect,
            Shape::Exception { .. } if was_python => Expect::Nothing,
            Shape::Exception { .. } | Shape::Class if self.has_time => Expect::Message(0),
            Shape::End => Expect::Nothing,
            _ if matches!(self.expect, Expect::Node(_) | Expect::Go) => self.expect,
            _ => Expect::Nothing,
        };
        if shape == Shape::End && self.crash != Some(Crash::Cpp) {
            self.is_closed = true;
        }
        if was_python {
            self.push_exception_of_python(line);
            return;
        }
        self.push(line, true);
    }

    fn joins_as_expected(&self, line: &str, reading: &Reading) -> bool {
        let is_bare = reading.kind == Kind::Bare;
        match self.expect {
            Expect::PythonFrames => is_bare || !reading.has_time,
            Expect::Message(count) => is_bare && count < MESSAGE_LINES_MAX,
            Expect::RustMessage => is_bare,
            // Behind the frames, only closing brackets and the version follow.
            Expect::Node(count) => is_bare && count < NODE_LINES_MAX && !self.stack.contains("\n    at "),
            Expect::Sanitizer(count) => count < REPORT_LINES_MAX && !reading.has_time,
            Expect::UpToEmptyLine(count) => count < REPORT_LINES_MAX && !line.starts_with('='),
            Expect::UpToBrackets(count) => count < REPORT_LINES_MAX,
            Expect::LevelLine => !reading.has_time && reading.draft.level.is_some() && begins_with_level(line),
            Expect::Nothing | Expect::PythonTraceback | Expect::Go => false,
        }
    }

    fn push_expected(&mut self, line: &str, reading: &Reading) {
        match self.expect {
            Expect::PythonFrames => {
                self.expect = Expect::Nothing;
                self.push_exception_of_python(line);
                return;
            }
            Expect::RustMessage => {
                self.expect = Expect::Nothing;
                self.push(line, false);
                return;
            }
            Expect::Message(count) => self.expect = Expect::Message(count + 1),
            Expect::Node(count) => self.expect = Expect::Node(count + 1),
            Expect::Sanitizer(count) => {
                self.expect = Expect::Sanitizer(count + 1);
                self.is_closed = line.ends_with("==ABORTING") || line.starts_with("=====");
            }
            Expect::UpToEmptyLine(count) => self.expect = Expect::UpToEmptyLine(count + 1),
            Expect::UpToBrackets(count) => {
                self.expect = Expect::UpToBrackets(count + 1);
                self.is_closed = line.trim_end().ends_with("]]");
                self.push(line, false);
                return;
            }
            Expect::LevelLine => {
                self.draft.level = reading.draft.level;
                self.expect = Expect::Nothing;
                self.push(line, false);
                return;
            }
            Expect::Nothing | Expect::PythonTraceback | Expect::Go => {}
        }
        self.push(line, true);
    }

    /// The line that names the exception is the message of an event that begins with its traceback.
    fn push_exception_of_python(&mut self, line: &str) {
        if self.crash == Some(Crash::Python) {
            if self.stack.is_empty() || !self.stack.starts_with("Traceback") {
                let heading = std::mem::take(&mut self.draft.message);
                self.stack = if self.stack.is_empty() { heading } else { format!("{heading}\n{}", self.stack) };
            }
            self.draft.message = bounded(line);
        }
        self.push(line, true);
    }

    /// Adds a line to the trace, or to the message if no trace has begun.
    fn push(&mut self, line: &str, is_trace: bool) {
        if let Expect::UpToBrackets(_) = self.expect {
            self.is_closed = line.trim_end().ends_with("]]");
        }
        let to_message = !is_trace
            && self.stack.is_empty()
            && (self.crash.is_none() || self.crash == Some(Crash::Rust))
            && !self.is_exception;
        let empty = std::mem::take(&mut self.after_empty);
        let text = if to_message { &mut self.draft.message } else { &mut self.stack };
        let room = TEXT_BYTES_MAX.saturating_sub(text.len() + CUT_NOTE.len() + 2);
        if text.ends_with(CUT_NOTE) {
            return;
        }
        if line.len() > room {
            let kept = line.get(..line.floor_char_boundary(room)).unwrap_or_default();
            text.push('\n');
            text.push_str(kept);
            text.push_str(CUT_NOTE);
            return;
        }
        if !text.is_empty() {
            text.push_str(if empty { "\n\n" } else { "\n" });
        }
        text.push_str(line);
    }

    /// The object is complete, or a line came that does not belong to it: then it is text.
    fn end_pretty(&mut self, clock: Clock<'_>) {
        self.is_closed = true;
        let Some(pretty) = self.pretty.take() else { return };
        match json::draft(pretty.text(), clock) {
            Some(draft) => self.draft = draft,
            None => self.draft.message = bounded(pretty.text()),
        }
    }

    /// Whether the event is complete: lines can no longer join.
    pub fn is_closed(&self) -> bool {
        self.is_closed || (self.kind == Kind::Structured && self.pretty.is_none())
    }

    /// How many bytes of text are held.
    pub fn bytes(&self) -> usize {
        let pretty = self.pretty.as_ref().map_or(0, |pretty| pretty.text().len());
        self.draft.message.len() + self.stack.len() + pretty
    }

    /// The event.
    pub fn into_draft(mut self, clock: Clock<'_>) -> Draft {
        self.end_pretty(clock);
        if !self.stack.is_empty() {
            let stack = match self.draft.stack_trace.take() {
                Some(stated) => format!("{stated}\n{}", self.stack),
                None => self.stack,
            };
            self.draft.stack_trace = Some(bounded(&stack));
        }
        if self.draft.message.len() > TEXT_BYTES_MAX / 6 || self.draft.message.contains('\0') {
            self.draft.message = bounded(&self.draft.message);
        }
        self.draft
    }
}

/// What the first line of an event lets expect.
fn expected(line: &str, draft: &Draft, shape: Shape, kind: Kind, has_time: bool) -> Expect {
    match shape {
        Shape::Crash(Crash::Python) => return Expect::PythonFrames,
        Shape::Crash(Crash::Rust) => return Expect::RustMessage,
        Shape::Crash(Crash::Go) | Shape::Goroutine => return Expect::Go,
        Shape::Crash(Crash::Node) => return Expect::Node(0),
        Shape::Crash(Crash::Sanitizer | Crash::Race) => return Expect::Sanitizer(0),
        Shape::Crash(Crash::Java) => return Expect::Message(MESSAGE_LINES_MAX - 3),
        _ => {}
    }
    if kind != Kind::Headed {
        return Expect::Nothing;
    }
    if line.starts_with('=') && line.contains(" REPORT====") {
        return Expect::UpToEmptyLine(0);
    }
    if line.contains("[[")
        && line.starts_with('[')
        && !line.trim_end().ends_with("]]")
        && line.trim_end().ends_with("[[")
    {
        return Expect::UpToBrackets(0);
    }
    if has_time && draft.level.is_none() && ends_with_method(line) {
        return Expect::LevelLine;
    }
    Expect::Nothing
}

/// `… shop.Cart pay`, `… shop.Cart.pay()`: a class and a method, as the first of two lines ends.
fn ends_with_method(line: &str) -> bool {
    let line = line.trim_end();
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$' | b'<' | b'>' | b'-'))
    };
    if let Some(method) = line.strip_suffix("()") {
        return method.rsplit(' ').next().is_some_and(|name| name.contains('.') && is_name(name));
    }
    let mut words = line.rsplitn(3, ' ');
    match (words.next(), words.next()) {
        (Some(method), Some(class)) => {
            is_name(method) && !method.contains('.') && class.contains('.') && is_name(class)
        }
        _ => false,
    }
}

/// The first line of what Python prints for code that it cannot compile, without a heading.
fn is_syntax_error(line: &str) -> bool {
    line.starts_with("  File \"")
}

/// What a shell prints of a process that a signal ended.
fn is_signal(line: &str) -> bool {
    let name = line.trim_end().strip_suffix(" (core dumped)").unwrap_or(line.trim_end());
    matches!(name, "Aborted" | "Segmentation fault" | "Bus error" | "Floating point exception")
}

/// `SEVERE: …` at the very start.
fn begins_with_level(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    line.contains(':') && name.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn ends_crash(crash: Crash, line: &str) -> bool {
    match crash {
        Crash::Go => line.starts_with("exit status "),
        Crash::Node => line.starts_with("Node.js v"),
        Crash::Cpp | Crash::Rust | Crash::Dotnet | Crash::Python => {
            !line.starts_with("Node.js") && !line.starts_with("thrown")
        }
        _ => line.starts_with("thrown in ") || line.starts_with("Aborted") || line.starts_with("Segmentation fault"),
    }
}
