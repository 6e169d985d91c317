//! Which lines join the event before them.
//!
//! * A line with a level or a time at its head begins an event, unless a report of several lines says otherwise.
//! * Of all others, a line joins by its shape and by what came before it: the lines of a trace, a message of several
//!   lines, a report of a runtime. A line that fits nothing is an event of its own.
//! * Texts have limits: of a message the end is cut, of a stack trace the middle, and a note says so.

mod expect;
mod pretty;
pub mod shape;
mod slow_log;
mod trace;

use domain::event::TEXT_BYTES_MAX;
use domain::level::Level;

use self::expect::{
    Expect, MESSAGE_LINES_MAX, NODE_LINES_MAX, REPORT_LINES_MAX, begins_with_level, ends_crash, expected, is_signal,
    is_syntax_error,
};
use self::pretty::{Added, Pretty};
use self::shape::{CAUSE, Crash, Shape, is_frame, is_late_trace};
use self::slow_log::SlowLog;
use self::trace::Trace;
use crate::draft::Draft;
use crate::json;
use crate::limits::CUT_NOTE;
use crate::reading::{Kind, Reading};
use crate::times::{self, Clock};

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
    /// Whether it begins with the name of a class: an exception, if frames follow.
    may_be_exception: bool,
    /// Whether it begins within a trace.
    is_late: bool,
    /// Whether the line that names the error is the message.
    has_error: bool,
    stack: Trace,
    pretty: Option<Pretty>,
    slow_log: Option<SlowLog>,
    /// Whether an empty line came since the last line.
    after_empty: bool,
    is_closed: bool,
}

impl Joined {
    /// The event that a line begins.
    pub fn begin(line: &str, reading: Reading) -> Self {
        let Reading { mut draft, mut kind, has_time } = reading;
        let pretty = if kind == Kind::Structured { None } else { Pretty::begin(line) };
        // Nothing joins an object or pairs by their shape.
        let shape = if kind == Kind::Structured || pretty.is_some() {
            Shape::Other
        } else {
            match Shape::of(line) {
                Shape::Indented if is_syntax_error(line) => Shape::Crash(Crash::Python),
                Shape::End if is_signal(line) => Shape::Crash(Crash::Cpp),
                shape => shape,
            }
        };
        let mut crash = None;
        // The beginning of such a trace was passed on before, or is not in the input.
        let is_late = kind == Kind::Bare && is_late_trace(line);
        let is_exception = is_late || matches!(shape, Shape::Exception { .. });
        match shape {
            Shape::Crash(which) => {
                crash = Some(which);
                draft.level = draft.level.max(Some(which.level()));
            }
            Shape::Exception { .. } | Shape::Goroutine => draft.level = draft.level.or(Some(Level::Error)),
            _ if is_late => draft.level = Some(Level::Error),
            _ => {}
        }
        if is_exception || crash.is_some() {
            kind = Kind::Bare;
        }
        let expect = expected(line, &draft, shape, kind, has_time);
        let slow_log = if pretty.is_some() { None } else { SlowLog::begin(line, draft.time.is_some()) };
        Self {
            draft,
            kind,
            has_time,
            expect,
            crash,
            is_exception,
            may_be_exception: kind == Kind::Bare && shape == Shape::Class,
            is_late,
            has_error: line.starts_with(CAUSE),
            stack: Trace::default(),
            slow_log,
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
        if let Some(slow_log) = &mut self.slow_log {
            let reading = reading();
            let joins = !reading.has_time && slow_log.add(line);
            return if joins { Outcome::Joined } else { Outcome::Apart(Some(Box::new(reading))) };
        }
        let shape = Shape::of(line);
        if shape == Shape::Indented {
            if !self.joins_indented(line, clock) {
                return Outcome::Apart(None);
            }
            self.expect_error_of_node(line);
            // All lines of a report are its message.
            let is_frame = is_frame(line) && !matches!(self.expect, Expect::UpToEmptyLine(_));
            if is_frame && std::mem::take(&mut self.may_be_exception) {
                self.is_exception = true;
                self.draft.level = self.draft.level.or(Some(Level::Error));
            }
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

    /// The line with the caret ends the code that Node.js prints: the error follows.
    fn expect_error_of_node(&mut self, line: &str) {
        if let Expect::Node(count) = self.expect
            && line.trim().bytes().all(|byte| byte == b'^')
        {
            self.expect = Expect::NodeError(count);
        }
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
                    || matches!(self.expect, Expect::Node(_) | Expect::NodeError(_) | Expect::RustMessage)
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
        if let Expect::UpToEmptyLine(_) = self.expect {
            self.push(line, false);
            return;
        }
        if let Expect::NodeError(count) = self.expect
            && shape != Shape::End
        {
            self.expect = Expect::Node(count);
            self.push_error(line);
            return;
        }
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
        let is_first_cause = self.is_late && !self.has_error && line.starts_with(CAUSE);
        if was_python || is_first_cause {
            self.push_error(line);
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
            Expect::Node(count) => is_bare && count < NODE_LINES_MAX && !self.stack.head().contains("\n    at "),
            Expect::NodeError(count) => is_bare && count < NODE_LINES_MAX,
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
                self.push_error(line);
                return;
            }
            Expect::NodeError(count) => {
                self.expect = Expect::Node(count + 1);
                self.push_error(line);
                return;
            }
            Expect::RustMessage => {
                self.expect = Expect::Nothing;
                self.push(line, false);
                return;
            }
            Expect::Message(count) => self.expect = Expect::Message(count + 1),
            Expect::Node(count) => {
                self.expect = Expect::Node(count + 1);
                self.expect_error_of_node(line);
            }
            Expect::Sanitizer(count) => {
                self.expect = Expect::Sanitizer(count + 1);
                self.is_closed = line.ends_with("==ABORTING") || line.starts_with("=====");
            }
            Expect::UpToEmptyLine(count) => {
                self.expect = Expect::UpToEmptyLine(count + 1);
                self.push(line, false);
                return;
            }
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

    /// The line that names the error is the message of an event that begins with what Python or Node.js prints before
    /// it, or with frames.
    fn push_error(&mut self, line: &str) {
        if self.is_late || matches!(self.crash, Some(Crash::Python | Crash::Node)) {
            let is_first = !self.has_error;
            // Of the errors of Python, the last one was not caught.
            if is_first || self.crash == Some(Crash::Python) {
                let heading = std::mem::take(&mut self.draft.message);
                if is_first {
                    self.stack.push_front(&heading);
                }
                self.has_error = true;
                self.draft.set_message(line);
            }
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
        if !to_message {
            if empty && !self.stack.is_empty() {
                self.stack.push("");
            }
            self.stack.push(line);
            return;
        }
        let text = &mut self.draft.message;
        if text.ends_with(CUT_NOTE) {
            return;
        }
        let room = TEXT_BYTES_MAX.saturating_sub(text.len() + CUT_NOTE.len() + 2);
        text.push_str(if empty { "\n\n" } else { "\n" });
        let kept = line.get(..line.floor_char_boundary(room)).unwrap_or_default();
        text.push_str(kept);
        if kept.len() < line.len() {
            text.push_str(CUT_NOTE);
            self.draft.cut = true;
        }
    }

    /// The object is complete, or a line came that does not belong to it: then it is text, with its level and time.
    fn end_pretty(&mut self, clock: Clock<'_>) {
        self.is_closed = true;
        let Some(pretty) = self.pretty.take() else { return };
        self.draft = json::draft(pretty.text(), clock).unwrap_or_else(|| {
            let (level, time) = json::level_and_time_of_part(pretty.text(), clock);
            let (level, time) = (level.or(self.draft.level), time.or(self.draft.time));
            Draft { level, time, ..Draft::of_message(pretty.text()) }
        });
    }

    /// Whether the event is complete: lines can no longer join.
    pub fn is_closed(&self) -> bool {
        self.is_closed || (self.kind == Kind::Structured && self.pretty.is_none())
    }

    /// How many bytes of text are held.
    pub fn bytes(&self) -> usize {
        let pretty = self.pretty.as_ref().map_or(0, |pretty| pretty.text().len());
        let slow_log = self.slow_log.as_ref().map_or(0, SlowLog::bytes);
        self.draft.message.len() + self.stack.bytes() + pretty + slow_log
    }

    /// The event.
    pub fn into_draft(mut self, clock: Clock<'_>) -> Draft {
        self.end_pretty(clock);
        if let Some(slow_log) = self.slow_log.take() {
            slow_log.complete(&mut self.draft);
        }
        if !self.stack.is_empty() {
            self.draft.cut |= self.stack.is_cut();
            let lines = self.stack.into_text();
            let stack = match self.draft.stack_trace.take() {
                Some(stated) => format!("{stated}\n{lines}"),
                None => lines,
            };
            self.draft.set_stack_trace(&stack);
        }
        if self.draft.message.len() > TEXT_BYTES_MAX / 6 || self.draft.message.contains('\0') {
            let message = std::mem::take(&mut self.draft.message);
            self.draft.set_message(&message);
        }
        self.draft
    }
}
