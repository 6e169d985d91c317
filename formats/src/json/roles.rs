//! Which member of an object says what.
//!
//! Sources: the documentation of the libraries, of ECS, OpenTelemetry, GELF, journald and Cloud Logging. Names are
//! compared in any case; a name with a dot is also a member within a member.

/// What a member may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Level,
    Time,
    Message,
    Source,
    StackTrace,
    TraceId,
    SpanId,
    TraceParent,
    EventId,
    /// An object whose members join the metadata.
    Metadata,
}

/// Names whose value decides what other members mean, or that mean something only beside others.
pub const PECULIAR: [&str; 9] = [
    "s",
    "type",
    "priority",
    "levelno",
    "severitynumber",
    "severity_number",
    "short_message",
    "timestampseconds",
    "apiversion",
];

/// Members that may contain members with a role.
pub const CONTAINERS: [&str; 21] = [
    "log",
    "error",
    "err",
    "exception",
    "thrown",
    "trace",
    "span",
    "service",
    "resource",
    "mdc",
    "contextmap",
    "context",
    "fields",
    "jsonpayload",
    "attributes",
    "servicecontext",
    "properties",
    "extra",
    "record",
    "winlog",
    "event",
];

/// Members that name a service if nothing better does, in this order: a unit, a container, a host, a file. They say
/// where the line comes from as well, and stay in the metadata.
pub const PLACES: [&str; 14] = [
    "syslog_identifier",
    "_systemd_unit",
    "kubernetes.container_name",
    "kubernetes.container.name",
    "k8s.container.name",
    "attributes.k8s.container.name",
    "resource.k8s.container.name",
    "resource.attributes.k8s.container.name",
    "host.name",
    "attributes.host.name",
    "resource.host.name",
    "resource.attributes.host.name",
    FILE,
    "attributes.log.file.path",
];
/// The path of the file that a line stands in, whose base name counts.
pub const FILE: &str = "log.file.path";

/// Longest name with a role, in bytes; those of containers are shorter.
pub const NAME_BYTES_MAX: usize = 31;

/// The role of a name in lower case, and its rank among the names of that role: the lowest that is valid counts. The
/// names of the API come first.
pub fn of(name: &[u8]) -> Option<(Role, u8)> {
    let first = name.first()?;
    let (from, to) = (*FROM.get(name.len())?, *FROM.get(name.len() + 1)?);
    let of_length = NAMES.get(from..to)?.iter();
    // Most names differ in their first byte.
    let found = of_length.filter(|(known, ..)| known.as_bytes().first() == Some(first));
    found.into_iter().find(|(known, ..)| known.as_bytes() == name).map(|(_, role, rank)| (*role, *rank))
}

/// Whether a name begins as one with a role or as another one of these lists, of the same length and in any case.
pub fn may_be_known(name: &[u8]) -> bool {
    let (Some(first), Some(known)) = (name.first(), FIRST_BYTES.get(name.len())) else { return false };
    known & first_bit(*first) != 0
}

/// The bit of a first byte, which others may share.
const fn first_bit(byte: u8) -> u32 {
    // Letters of both cases have the same.
    1 << (byte & 0x1f)
}

/// The bits of all names in use, by length.
#[expect(clippy::indexing_slicing, reason = "the compiler refuses what is out of bounds")]
const FIRST_BYTES: [u32; NAME_BYTES_MAX + 1] = {
    let (mut bits, mut at) = ([0; NAME_BYTES_MAX + 1], 0);
    while at < NAMES.len() + PECULIAR.len() + CONTAINERS.len() {
        let name = if at < NAMES.len() {
            NAMES[at].0
        } else if at < NAMES.len() + PECULIAR.len() {
            PECULIAR[at - NAMES.len()]
        } else {
            CONTAINERS[at - NAMES.len() - PECULIAR.len()]
        };
        bits[name.len()] |= first_bit(name.as_bytes()[0]);
        at += 1;
    }
    bits
};

/// Where the names of each length begin.
#[expect(clippy::indexing_slicing, reason = "the compiler refuses what is out of bounds")]
const FROM: [usize; NAME_BYTES_MAX + 2] = {
    let (mut from, mut length, mut at) = ([0; NAME_BYTES_MAX + 2], 0, 0);
    while length < from.len() {
        while at < NAMES.len() && NAMES[at].0.len() < length {
            at += 1;
        }
        from[length] = at;
        length += 1;
    }
    from
};

/// Names with their roles and ranks, by length and in alphabetical order. Monolog's `level` is a number beside `level_name`.
const NAMES: &[(&str, Role, u8)] = &[
    ("s", Role::Level, 3),
    ("t", Role::Time, 2),
    ("@l", Role::Level, 2),
    ("@m", Role::Message, 1),
    ("@t", Role::Time, 2),
    ("@x", Role::StackTrace, 2),
    ("ts", Role::Time, 2),
    ("@sp", Role::SpanId, 1),
    ("@tr", Role::TraceId, 1),
    ("app", Role::Source, 2),
    ("log", Role::Message, 2),
    ("lvl", Role::Level, 3),
    ("msg", Role::Message, 1),
    ("_msg", Role::Message, 2),
    ("body", Role::Message, 2),
    ("date", Role::Time, 3),
    ("line", Role::Message, 3),
    ("note", Role::Message, 4),
    ("text", Role::Message, 3),
    ("time", Role::Time, 1),
    ("type", Role::Level, 3),
    ("_time", Role::Time, 5),
    ("epoch", Role::Time, 6),
    ("event", Role::Message, 3),
    ("level", Role::Level, 1),
    ("stack", Role::StackTrace, 3),
    ("trace", Role::TraceId, 2),
    ("@level", Role::Level, 2),
    ("source", Role::Source, 0),
    ("spanid", Role::SpanId, 0),
    ("appname", Role::Source, 2),
    ("asctime", Role::Time, 3),
    ("created", Role::Time, 6),
    ("eventid", Role::EventId, 0),
    ("instant", Role::Time, 2),
    ("levelno", Role::Level, 4),
    ("logtime", Role::Time, 4),
    ("message", Role::Message, 0),
    ("service", Role::Source, 1),
    ("span.id", Role::SpanId, 1),
    ("span_id", Role::SpanId, 1),
    ("traceid", Role::TraceId, 0),
    ("@message", Role::Message, 1),
    ("app_name", Role::Source, 2),
    ("datetime", Role::Time, 2),
    ("event_id", Role::EventId, 0),
    ("exc_info", Role::StackTrace, 2),
    ("exc_text", Role::StackTrace, 2),
    ("log_time", Role::Time, 4),
    ("loglevel", Role::Level, 2),
    ("metadata", Role::Metadata, 0),
    ("priority", Role::Level, 3),
    ("severity", Role::Level, 2),
    ("trace.id", Role::TraceId, 1),
    ("trace_id", Role::TraceId, 1),
    ("backtrace", Role::StackTrace, 3),
    ("err.stack", Role::StackTrace, 1),
    ("eventtime", Role::Time, 3),
    ("exception", Role::StackTrace, 3),
    ("levelname", Role::Level, 0),
    ("log.level", Role::Level, 2),
    ("log_level", Role::Level, 2),
    ("throwable", Role::StackTrace, 3),
    ("timestamp", Role::Time, 0),
    ("@timestamp", Role::Time, 1),
    ("created_at", Role::Time, 6),
    ("event_time", Role::Time, 3),
    ("level_name", Role::Level, 0),
    ("logmessage", Role::Message, 3),
    ("mdc.spanid", Role::SpanId, 1),
    ("otelspanid", Role::SpanId, 1),
    ("stacktrace", Role::StackTrace, 0),
    ("start_time", Role::Time, 4),
    ("time_local", Role::Time, 5),
    ("timemillis", Role::Time, 4),
    ("application", Role::Source, 2),
    ("datetimeutc", Role::Time, 6),
    ("error.stack", Role::StackTrace, 1),
    ("level_value", Role::Level, 4),
    ("log_message", Role::Message, 3),
    ("mdc.span_id", Role::SpanId, 2),
    ("mdc.traceid", Role::TraceId, 1),
    ("oteltraceid", Role::TraceId, 1),
    ("record.time", Role::Time, 5),
    ("servicename", Role::Source, 1),
    ("span.spanid", Role::SpanId, 2),
    ("stack_trace", Role::StackTrace, 0),
    ("textpayload", Role::Message, 2),
    ("timecreated", Role::Time, 6),
    ("traceparent", Role::TraceParent, 0),
    ("mdc.trace_id", Role::TraceId, 2),
    ("record.level", Role::Level, 3),
    ("service.name", Role::Source, 1),
    ("service_name", Role::Source, 1),
    ("severitytext", Role::Level, 3),
    ("span.span_id", Role::SpanId, 2),
    ("span.traceid", Role::TraceId, 2),
    ("time_iso8601", Role::Time, 4),
    ("timestamp_ms", Role::Time, 4),
    ("timeunixnano", Role::Time, 2),
    ("winlog.level", Role::Level, 3),
    ("event.created", Role::Time, 5),
    ("extra.span_id", Role::SpanId, 2),
    ("lasttimestamp", Role::Time, 4),
    ("severity_text", Role::Level, 3),
    ("short_message", Role::Message, 1),
    ("span.trace_id", Role::TraceId, 2),
    ("trace.span_id", Role::SpanId, 2),
    ("context.spanid", Role::SpanId, 2),
    ("contexttraceid", Role::TraceId, 2),
    ("error_severity", Role::Level, 2),
    ("extra.trace_id", Role::TraceId, 2),
    ("fields.message", Role::Message, 2),
    ("fields.span_id", Role::SpanId, 2),
    ("firsttimestamp", Role::Time, 5),
    ("record.message", Role::Message, 2),
    ("severitynumber", Role::Level, 4),
    ("time_unix_nano", Role::Time, 2),
    ("trace.trace_id", Role::TraceId, 2),
    ("context.span_id", Role::SpanId, 2),
    ("context.traceid", Role::TraceId, 2),
    ("fields.trace_id", Role::TraceId, 2),
    ("otelservicename", Role::Source, 1),
    ("renderedmessage", Role::Message, 1),
    ("severity_number", Role::Level, 4),
    ("syslog.severity", Role::Level, 4),
    ("context.trace_id", Role::TraceId, 2),
    ("error.stacktrace", Role::StackTrace, 3),
    ("leveldisplayname", Role::Level, 3),
    ("receivetimestamp", Role::Time, 5),
    ("rendered_message", Role::Message, 1),
    ("contextmap.spanid", Role::SpanId, 1),
    ("error.stack_trace", Role::StackTrace, 1),
    ("properties.spanid", Role::SpanId, 2),
    ("resultdescription", Role::Message, 3),
    ("attributes.span_id", Role::SpanId, 2),
    ("contextmap.span_id", Role::SpanId, 2),
    ("contextmap.traceid", Role::TraceId, 1),
    ("properties.traceid", Role::TraceId, 2),
    ("attributes.trace_id", Role::TraceId, 2),
    ("contextmap.trace_id", Role::TraceId, 2),
    ("exception.backtrace", Role::StackTrace, 1),
    ("jsonpayload.message", Role::Message, 2),
    ("__realtime_timestamp", Role::Time, 3),
    ("exception.stacktrace", Role::StackTrace, 1),
    ("exception_stacktrace", Role::StackTrace, 3),
    ("observedtimeunixnano", Role::Time, 5),
    ("exception.stack_trace", Role::StackTrace, 1),
    ("resource.service.name", Role::Source, 2),
    ("servicecontext.service", Role::Source, 2),
    ("observed_time_unix_nano", Role::Time, 5),
    ("thrown.extendedstacktrace", Role::StackTrace, 2),
    ("_source_realtime_timestamp", Role::Time, 3),
    ("logging.googleapis.com/trace", Role::TraceId, 2),
    ("logging.googleapis.com/spanid", Role::SpanId, 2),
    ("attributes.exception.stacktrace", Role::StackTrace, 2),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_in_lower_case() {
        let place = |name: &'static str| (name.len(), name);
        assert!(NAMES.windows(2).all(|pair| place(pair[0].0) < place(pair[1].0)));
        assert!(NAMES.iter().all(|(name, role, rank)| of(name.as_bytes()) == Some((*role, *rank))));
        assert!(
            ["", "x", "levels", &"a".repeat(NAME_BYTES_MAX + 1)].iter().all(|other| of(other.as_bytes()).is_none())
        );
        assert!(NAMES.iter().all(|(name, ..)| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
        assert_eq!(NAMES.iter().map(|(name, ..)| name.len()).max(), Some(NAME_BYTES_MAX));
        for name in CONTAINERS.into_iter().chain(PECULIAR).chain(NAMES.iter().map(|(name, ..)| *name)) {
            assert!(may_be_known(name.as_bytes()) && may_be_known(name.to_ascii_uppercase().as_bytes()), "{name}");
        }
        assert!(!may_be_known(b"requestId") && !may_be_known(b""));
    }
}
