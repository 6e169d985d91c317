//! The lines of the log of one target, as a test reads them.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, subscriber};

/// Keeps the lines of a target.
#[derive(Clone)]
struct Lines {
    target: &'static str,
    lines: Arc<Mutex<Vec<String>>>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.target
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(format!("{} ", event.metadata().level()));
        event.record(&mut fields);
        self.lines.lock().expect("lock").push(fields.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// What is audited meanwhile.
pub fn lines_of(act: impl FnOnce()) -> Vec<String> {
    lines_to("audit", act)
}

/// What is logged to a target meanwhile.
pub fn lines_to(target: &'static str, act: impl FnOnce()) -> Vec<String> {
    let lines = Arc::default();
    subscriber::with_default(Lines { target, lines: Arc::clone(&lines) }, act);
    let lines = lines.lock().expect("lock");
    lines.clone()
}
