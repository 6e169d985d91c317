//! What the lines of an event so far let expect of the next one.

use super::shape::{Crash, Shape};
use crate::draft::Draft;
use crate::reading::Kind;

/// Most lines without a shape of their own that a message of an exception may have.
pub const MESSAGE_LINES_MAX: u32 = 10;
/// Most lines of a report whose end is marked.
pub const REPORT_LINES_MAX: u32 = 500;
/// Most lines that Node.js prints before the frames: the code, and an error of several lines.
pub const NODE_LINES_MAX: u32 = 20;

/// What the lines so far let expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
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
    /// The error that Node.js prints behind the line with the caret; then as [`Expect::Node`].
    NodeError(u32),
    /// Anything up to `==7==ABORTING`: the report of a sanitizer.
    Sanitizer(u32),
    /// Anything up to an empty line: a report of Erlang.
    UpToEmptyLine(u32),
    /// Anything up to `]]`: the message of GlassFish.
    UpToBrackets(u32),
    /// A level and a colon, as java.util.logging and tinylog print in a second line.
    LevelLine,
}

/// What the first line of an event lets expect.
pub fn expected(line: &str, draft: &Draft, shape: Shape, kind: Kind, has_time: bool) -> Expect {
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
pub fn is_syntax_error(line: &str) -> bool {
    line.starts_with("  File \"")
}

/// What a shell prints of a process that a signal ended.
pub fn is_signal(line: &str) -> bool {
    let name = line.trim_end().strip_suffix(" (core dumped)").unwrap_or(line.trim_end());
    matches!(name, "Aborted" | "Segmentation fault" | "Bus error" | "Floating point exception")
}

/// `SEVERE: …` at the very start.
pub fn begins_with_level(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    line.contains(':') && name.bytes().all(|byte| byte.is_ascii_uppercase())
}

pub fn ends_crash(crash: Crash, line: &str) -> bool {
    match crash {
        Crash::Go => line.starts_with("exit status "),
        Crash::Node => line.starts_with("Node.js v"),
        Crash::Cpp | Crash::Rust | Crash::Dotnet | Crash::Python => {
            !line.starts_with("Node.js") && !line.starts_with("thrown")
        }
        _ => line.starts_with("thrown in ") || line.starts_with("Aborted") || line.starts_with("Segmentation fault"),
    }
}
