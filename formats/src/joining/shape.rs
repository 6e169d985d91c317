//! The shapes of lines that belong to stack traces and reports.
//!
//! Sources: what the JVM, CPython, Node.js, Go, Rust, .NET, Ruby, PHP, the BEAM, libstdc++ and sanitizers print.

use domain::level::Level;

/// What a line looks like, apart from its level and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It begins with a blank or a tab.
    Indented,
    /// The first line of what a runtime prints when something fails that nobody catches.
    Crash(Crash),
    /// The name of an exception, perhaps with a message; `qualified` with a package.
    Exception { qualified: bool },
    /// The name of a class with its package, perhaps with a message: it may be an exception of another name.
    Class,
    /// A line that only occurs within a trace: `Caused by: …`.
    Continuation,
    /// A line between two traces of Python.
    Chain,
    /// `goroutine 1 [running]:`
    Goroutine,
    /// Any other line that only Go prints in a dump.
    GoDump,
    /// A function of Go, as zap prints stacks.
    GoFunction,
    /// What ends a report of a runtime: `exit status 2`, `Aborted (core dumped)`, `Node.js v20.11.1`.
    End,
    /// Closing brackets only.
    Closing,
    /// Anything else.
    Other,
}

/// The runtime that reports a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Java,
    Python,
    Node,
    Go,
    Rust,
    Dotnet,
    Ruby,
    Cpp,
    Elixir,
    Sanitizer,
    Race,
    Other,
}

impl Crash {
    /// The process, the thread or the task ends: FATAL if the runtime always ends the process, otherwise ERROR.
    pub fn level(self) -> Level {
        match self {
            Self::Go | Self::Dotnet | Self::Cpp | Self::Node | Self::Sanitizer => Level::Fatal,
            Self::Race => Level::Warn,
            Self::Java | Self::Python | Self::Rust | Self::Ruby | Self::Elixir | Self::Other => Level::Error,
        }
    }
}

/// What lines of a shape begin with, by their first bytes. Of those with the same one, the first that fits counts. `Caused by`
/// stands for the JVM, Rust and others.
const BEGINS: [(&str, Shape); 82] = [
    ("# A fatal error has been detected by", Shape::Crash(Crash::Other)),
    ("*** java.lang.instrument ASSERTION", Shape::Crash(Crash::Java)),
    ("** (", Shape::Crash(Crash::Elixir)),
    ("* thread #", Shape::Continuation),
    ("--- End of ", Shape::Continuation),
    ("... ", Shape::Continuation),
    ("Args: ", Shape::Continuation),
    ("Ancestors: ", Shape::Continuation),
    ("Aborted", Shape::End),
    ("Backtrace:", Shape::Continuation),
    ("Bus error", Shape::End),
    ("Current thread 0x", Shape::Continuation),
    ("CallStack (from", Shape::Continuation),
    ("Current stack trace:", Shape::Continuation),
    ("Caused by:", Shape::Continuation),
    ("Client ", Shape::Continuation),
    ("Call Stack:", Shape::Continuation),
    ("During handling of the above exception", Shape::Chain),
    ("Exception in thread ", Shape::Crash(Crash::Java)),
    ("Exception: ", Shape::Crash(Crash::Java)),
    ("Extension modules: ", Shape::Continuation),
    ("Fatal Python error: ", Shape::Crash(Crash::Other)),
    ("Fatal error. ", Shape::Crash(Crash::Dotnet)),
    ("Fatal error: Uncaught", Shape::Crash(Crash::Other)),
    ("Function: ", Shape::Continuation),
    ("Floating point exception", Shape::End),
    ("Initial Call: ", Shape::Continuation),
    ("Last message", Shape::Continuation),
    ("Nested exception", Shape::Continuation),
    ("Node.js v", Shape::End),
    ("Process terminated. ", Shape::Crash(Crash::Dotnet)),
    ("PHP Fatal error:  Uncaught", Shape::Crash(Crash::Other)),
    ("PHP Stack trace:", Shape::Continuation),
    ("PC=", Shape::GoDump),
    ("Root cause:", Shape::Continuation),
    ("SIGQUIT: quit", Shape::Crash(Crash::Go)),
    ("SIGABRT: abort", Shape::Crash(Crash::Go)),
    ("SIGSEGV: ", Shape::Crash(Crash::Go)),
    ("Suppressed:", Shape::Continuation),
    ("Stack trace:", Shape::Continuation),
    ("Stacktrace:", Shape::Continuation),
    ("State: ", Shape::Continuation),
    ("Start Call: ", Shape::Continuation),
    ("Segmentation fault", Shape::End),
    ("The above exception was the direct cause", Shape::Chain),
    ("Traceback (most recent call last)", Shape::Crash(Crash::Python)),
    ("Thread 0x", Shape::Continuation),
    ("Trace/breakpoint trap", Shape::End),
    ("Unhandled exception", Shape::Crash(Crash::Dotnet)),
    ("Unhandled Exception", Shape::Crash(Crash::Dotnet)),
    ("Uncaught Error: ", Shape::Crash(Crash::Node)),
    ("Uncaught:", Shape::Crash(Crash::Node)),
    ("Uncaught exception ", Shape::Crash(Crash::Other)),
    ("WARNING: DATA RACE", Shape::Crash(Crash::Race)),
    ("Wrapped by:", Shape::Continuation),
    ("[UnhandledPromiseRejection", Shape::Crash(Crash::Node)),
    ("[stacktrace]", Shape::Continuation),
    ("[previous exception]", Shape::Continuation),
    ("[CIRCULAR REFERENCE", Shape::Continuation),
    ("[signal ", Shape::GoDump),
    ("[originating from", Shape::GoDump),
    ("at ", Shape::Continuation),
    ("created by ", Shape::GoDump),
    ("exit status ", Shape::End),
    ("fatal error: ", Shape::Crash(Crash::Go)),
    ("goroutine ", Shape::GoDump),
    ("libc++abi", Shape::Crash(Crash::Cpp)),
    ("note: run with `RUST_BACKTRACE", Shape::Continuation),
    ("note: Some details are omitted", Shape::Continuation),
    ("note: the panic", Shape::Continuation),
    ("panic: ", Shape::Crash(Crash::Go)),
    ("panic(", Shape::GoDump),
    ("runtime: goroutine stack exceeds", Shape::Crash(Crash::Go)),
    ("runtime: out of memory", Shape::Crash(Crash::Go)),
    ("runtime stack:", Shape::GoDump),
    ("runtime: ", Shape::GoDump),
    ("r0 ", Shape::GoDump),
    ("rax ", Shape::GoDump),
    ("stack backtrace:", Shape::Continuation),
    ("terminate called ", Shape::Crash(Crash::Cpp)),
    ("thrown in ", Shape::End),
    ("unexpected fault address", Shape::Crash(Crash::Go)),
];
/// The heading of a traceback of several exceptions (PEP 654), which is indented.
const GROUP_OF_PYTHON: &str = "+ Exception Group Traceback";
/// What the names of exceptions end with.
const EXCEPTIONS: [&str; 9] =
    ["Exception", "Error", "Throwable", "Failure", "Fault", "Interrupt", "Timeout", "Exit", "Panic"];
/// What names the cause of an exception.
pub const CAUSE: &str = "Caused by: ";
/// Longest name of an exception or a function.
const NAME_BYTES_MAX: usize = 200;
/// Longest name of a register.
const REGISTER_BYTES_MAX: usize = 6;

impl Shape {
    /// The shape of a line.
    pub fn of(line: &str) -> Self {
        let Some(first) = line.as_bytes().first() else { return Self::Other };
        match first {
            b' ' | b'\t' if line.trim_start().starts_with(GROUP_OF_PYTHON) => Self::Crash(Crash::Other),
            b' ' | b'\t' => Self::Indented,
            b'}' | b']' | b')' => {
                // Laravel closes its quoted trace.
                let line = line.trim_end();
                let closes = line.bytes().all(|byte| matches!(byte, b'}' | b']' | b')' | b',' | b';'));
                if closes { Self::Closing } else { Self::Other }
            }
            b'"' if line.trim_end() == "\"}" => Self::Closing,
            // Most lines begin with a time.
            b'0'..=b'9' => {
                if is_numbered_frame(line) {
                    Self::Continuation
                } else {
                    Self::Other
                }
            }
            b'[' if line.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => Self::Other,
            b'#' => frame_of_php(line),
            b'/' | b'f' | b'n' if is_place_of_node(line) => Self::Crash(Crash::Node),
            _ => named(line),
        }
    }
}

fn named(line: &str) -> Shape {
    if line.starts_with("goroutine ") && (line.ends_with(']') || line.ends_with("]:")) {
        return Shape::Goroutine;
    }
    if line.starts_with("thread '") && (line.contains("panicked at") || line.contains("has overflowed its stack")) {
        return Shape::Crash(Crash::Rust);
    }
    if let Some(shape) = known_beginning(line) {
        return shape;
    }
    if is_register(line) {
        return Shape::GoDump;
    }
    if let Some(shape) = ruby(line).or_else(|| other_crash(line)) {
        return shape;
    }
    exception(line).unwrap_or_else(|| function(line))
}

fn known_beginning(line: &str) -> Option<Shape> {
    let first = usize::from(*line.as_bytes().first()?);
    let begins = BEGINS.get(*FROM.get(first)?..*FROM.get(first + 1)?)?;
    begins.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, shape)| *shape)
}

/// Where the beginnings with each first byte are.
#[expect(clippy::indexing_slicing, reason = "the compiler refuses what is out of bounds")]
const FROM: [usize; 257] = {
    let (mut from, mut byte, mut at) = ([0; 257], 0, 0);
    while byte < from.len() {
        while at < BEGINS.len() && (BEGINS[at].0.as_bytes()[0] as usize) < byte {
            at += 1;
        }
        from[byte] = at;
        byte += 1;
    }
    from
};

/// `0    libswiftCore.dylib   0x00007f…`, as backtraces of C and Swift number frames.
fn is_numbered_frame(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let is_number = |word: &str| word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    words.next().is_some_and(is_number) && words.nth(1).is_some_and(|word| word.starts_with("0x"))
}

/// `rax    0x0`
fn is_register(line: &str) -> bool {
    // Most lines begin with a longer word.
    let is_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let length = line.as_bytes().iter().take(REGISTER_BYTES_MAX + 1).take_while(|byte| is_name(byte)).count();
    let rest = line
        .get(length..)
        .filter(|rest| (1..=REGISTER_BYTES_MAX).contains(&length) && rest.starts_with(char::is_whitespace));
    let mut words = rest.unwrap_or_default().split_whitespace();
    words.next().is_some_and(|value| value.starts_with("0x")) && words.next().is_none()
}

/// `#0 /srv/index.php(4): …`
fn frame_of_php(line: &str) -> Shape {
    let digits = line.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let is_frame = digits > 0 && line.get(digits + 1..).is_some_and(|rest| rest.starts_with(' '));
    if is_frame { Shape::Continuation } else { Shape::Other }
}

/// `/srv/cart.js:5`, the line before the code that threw.
fn is_place_of_node(line: &str) -> bool {
    let Some((path, number)) = line.rsplit_once(':') else { return false };
    let is_script =
        [".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx"].iter().any(|ending| path.ends_with(ending));
    let is_internal = line.starts_with("node:internal/");
    let is_path = is_script && (line.starts_with('/') || line.starts_with("file:"));
    (is_internal || is_path) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// ``/srv/cart.rb:1:in `total': message (NoMethodError)``
fn ruby(line: &str) -> Option<Shape> {
    // Few lines have it, and that is seen faster than its place is found.
    if !line.contains(":in ") {
        return None;
    }
    let (place, rest) = line.split_once(":in ")?;
    let number = place.rsplit(':').next().unwrap_or_default();
    let is_place = !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !place.contains(char::is_whitespace)
        && rest.starts_with(['`', '\'']);
    // The first line has a message, a frame ends with the method.
    let is_frame = rest.ends_with('\'');
    is_place.then_some(if is_frame { Shape::Continuation } else { Shape::Crash(Crash::Ruby) })
}

/// Failures that a word within the line shows.
fn other_crash(line: &str) -> Option<Shape> {
    if line.starts_with("==") && line.contains("==ERROR: ") {
        return Some(Shape::Crash(Crash::Sanitizer));
    }
    if line.ends_with("failed.") && line.contains(": Assertion `") {
        return Some(Shape::Crash(Crash::Cpp));
    }
    let is_rejection = line.starts_with("(node:") && line.contains("UnhandledPromiseRejectionWarning: ");
    is_rejection.then_some(Shape::Crash(Crash::Other))
}

/// `java.lang.IllegalStateException: message`, `ValueError: message`, `shop.errors.Timeout`.
fn exception(line: &str) -> Option<Shape> {
    let end = line.bytes().take(NAME_BYTES_MAX).position(|byte| {
        !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$' | b':' | b'/' | b'`' | b'\\'))
    });
    let name = line.get(..end.unwrap_or(line.len().min(NAME_BYTES_MAX)))?;
    let rest = line.get(name.len()..)?;
    // The code of an error of Node.js: `Error [ERR_X]: message`.
    // Rails: `NoMethodError (undefined method):`
    let in_parentheses = rest.starts_with(" (") && rest.ends_with([')', ':']);
    let is_end =
        rest.is_empty() || (name.ends_with(':') && rest.starts_with(' ')) || rest.starts_with(" [") || in_parentheses;
    if !is_end {
        return None;
    }
    let name = name.trim_end_matches(':');
    let last = name.rsplit(['.', ':', '$', '\\']).next()?;
    let is_name = last.starts_with(|first: char| first.is_ascii_uppercase())
        && EXCEPTIONS.iter().any(|ending| last.ends_with(ending))
        && name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_class = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.matches('.').count() >= 2
        && last.starts_with(|first: char| first.is_ascii_uppercase());
    match (is_name, is_class) {
        (true, _) => Some(Shape::Exception { qualified: last.len() < name.len() }),
        (false, true) => Some(Shape::Class),
        (false, false) => None,
    }
}

/// A function of Go: `shop/db.(*Pool).Get`, `main.main()`.
fn function(line: &str) -> Shape {
    let is_call = line.ends_with(')');
    let is_package =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-' | b'~' | b'%' | b'@');
    let end = line.bytes().position(|byte| !is_package(byte)).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end).unwrap_or_default();
    let is_name = line.len() < 4 * NAME_BYTES_MAX
        && (rest.is_empty() || rest.starts_with('('))
        && !name.is_empty()
        && name.rsplit('/').next().is_some_and(|last| last.contains('.'))
        && name.starts_with(|first: char| first.is_ascii_lowercase());
    if !is_name {
        Shape::Other
    } else if is_call || !line.contains(char::is_whitespace) {
        Shape::GoFunction
    } else {
        Shape::Other
    }
}

/// Whether a line is a frame or a cause that cannot be anything else, so that it is a part of a trace even if nothing
/// of it came before.
pub fn is_late_trace(line: &str) -> bool {
    let inner = line.trim_start();
    let is_indented = inner.len() < line.len();
    let count = inner.strip_prefix("... ").map(|rest| rest.trim_start_matches(|char: char| char.is_ascii_digit()));
    inner.starts_with(CAUSE)
        || count.is_some_and(|rest| rest == " more" || rest == " common frames omitted")
        || (is_indented && inner.strip_prefix("at ").is_some_and(is_place))
        || (is_indented && inner.starts_with("Suppressed: "))
        || (is_indented && inner.starts_with("from ") && inner.contains(":in "))
}

/// What stands behind `at` in a frame of the JVM, .NET or Node.js: `a.B.c(B.java:1)`, `async f (/srv/a.js:1:2)`,
/// `/srv/a.js:1:2`. Not `noon (12:00)`.
fn is_place(text: &str) -> bool {
    let text = text.strip_prefix("async ").or_else(|| text.strip_prefix("new ")).unwrap_or(text);
    let word = text.split(' ').next().unwrap_or_default();
    let is_file = word.contains('/') && word.ends_with(|last: char| last.is_ascii_digit());
    let has_file = ["(/", "(node:", "(file:", "(<", ":\\"].iter().any(|begin| text.contains(begin));
    is_file || has_file || word.contains('(') || (word.contains('.') && text.contains('('))
}

/// Whether an indented line is part of a trace, not of a message of several lines.
pub fn is_frame(line: &str) -> bool {
    let line = line.trim_start();
    let begins =
        ["at ", "File \"", "from ", "--->", "--- End", "... ", "Caused by", "Suppressed", "+ ", "| ", "+-+-", "^", "#"];
    begins.iter().any(|begin| line.starts_with(begin))
        || Shape::of(line) != Shape::Other
            && !matches!(Shape::of(line), Shape::Indented | Shape::Closing | Shape::GoFunction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_is_found() {
        assert!(BEGINS.windows(2).all(|pair| pair[0].0.as_bytes()[0] <= pair[1].0.as_bytes()[0]));
        for (begin, _) in BEGINS {
            let first = BEGINS.into_iter().find(|(other, _)| begin.starts_with(other));
            assert_eq!(known_beginning(begin), first.map(|(_, shape)| shape), "{begin}");
        }
        assert!(["", "x", "\u{ff}", "Args"].into_iter().all(|other| known_beginning(other).is_none()));
    }
}
