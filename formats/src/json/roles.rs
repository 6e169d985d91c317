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

/// The role of a name in lower case, and its rank among the names of that role: the lowest that is valid counts. The
/// names of the API come first.
pub fn of(name: &str) -> Option<(Role, u8)> {
    of_level_or_time(name).or_else(|| of_text(name)).or_else(|| of_identity(name))
}

fn of_level_or_time(name: &str) -> Option<(Role, u8)> {
    use Role::{Level, Time};
    Some(match name {
        // Monolog's `level` is a number beside it.
        "level_name" | "levelname" => (Level, 0),
        "level" => (Level, 1),
        "severity" | "log.level" | "loglevel" | "log_level" | "@level" | "@l" | "error_severity" => (Level, 2),
        "severitytext" | "severity_text" | "lvl" | "priority" | "s" | "type" => (Level, 3),
        "record.level" | "winlog.level" | "leveldisplayname" => (Level, 3),
        "severitynumber" | "severity_number" | "levelno" | "level_value" | "syslog.severity" => (Level, 4),
        "timestamp" => (Time, 0),
        "@timestamp" | "time" => (Time, 1),
        "ts" | "datetime" | "@t" | "t" | "instant" | "timeunixnano" | "time_unix_nano" => (Time, 2),
        "asctime" | "eventtime" | "event_time" | "date" | "__realtime_timestamp" | "_source_realtime_timestamp" => {
            (Time, 3)
        }
        "lasttimestamp" | "timemillis" | "timestamp_ms" | "log_time" | "logtime" | "time_iso8601" | "start_time" => {
            (Time, 4)
        }
        "observedtimeunixnano" | "observed_time_unix_nano" | "firsttimestamp" | "receivetimestamp" | "time_local" => {
            (Time, 5)
        }
        "record.time" | "event.created" | "_time" => (Time, 5),
        "created" | "created_at" | "timecreated" | "epoch" | "datetimeutc" => (Time, 6),
        _ => return None,
    })
}

fn of_text(name: &str) -> Option<(Role, u8)> {
    use Role::{Message, Source, StackTrace};
    Some(match name {
        "message" => (Message, 0),
        "msg" | "short_message" | "@m" | "@message" | "renderedmessage" | "rendered_message" => (Message, 1),
        "log" | "textpayload" | "jsonpayload.message" | "fields.message" | "body" => (Message, 2),
        "record.message" | "_msg" => (Message, 2),
        "note" => (Message, 4),
        "text" | "event" | "resultdescription" | "log_message" | "logmessage" | "line" => (Message, 3),
        "source" => (Source, 0),
        "service" | "service.name" | "service_name" | "servicename" | "otelservicename" => (Source, 1),
        "resource.service.name" | "servicecontext.service" | "app" | "application" | "app_name" | "appname" => {
            (Source, 2)
        }
        "stacktrace" | "stack_trace" => (StackTrace, 0),
        "error.stack_trace"
        | "err.stack"
        | "error.stack"
        | "exception.stacktrace"
        | "exception.stack_trace"
        | "exception.backtrace" => (StackTrace, 1),
        "@x" | "exc_info" | "exc_text" | "thrown.extendedstacktrace" | "attributes.exception.stacktrace" => {
            (StackTrace, 2)
        }
        "exception" | "stack" | "backtrace" | "error.stacktrace" | "exception_stacktrace" | "throwable" => {
            (StackTrace, 3)
        }
        _ => return None,
    })
}

fn of_identity(name: &str) -> Option<(Role, u8)> {
    use Role::{EventId, Metadata, SpanId, TraceId, TraceParent};
    Some(match name {
        "traceid" => (TraceId, 0),
        "trace_id" | "trace.id" | "@tr" | "oteltraceid" | "mdc.traceid" | "contextmap.traceid" => (TraceId, 1),
        "logging.googleapis.com/trace"
        | "trace"
        | "mdc.trace_id"
        | "contextmap.trace_id"
        | "context.traceid"
        | "context.trace_id"
        | "span.trace_id"
        | "span.traceid"
        | "properties.traceid"
        | "extra.trace_id"
        | "fields.trace_id"
        | "attributes.trace_id"
        | "trace.trace_id"
        | "contexttraceid" => (TraceId, 2),
        "spanid" => (SpanId, 0),
        "span_id" | "span.id" | "@sp" | "otelspanid" | "mdc.spanid" | "contextmap.spanid" => (SpanId, 1),
        "logging.googleapis.com/spanid"
        | "mdc.span_id"
        | "contextmap.span_id"
        | "context.spanid"
        | "context.span_id"
        | "span.span_id"
        | "span.spanid"
        | "properties.spanid"
        | "extra.span_id"
        | "fields.span_id"
        | "attributes.span_id"
        | "trace.span_id" => (SpanId, 2),
        "traceparent" => (TraceParent, 0),
        "eventid" | "event_id" => (EventId, 0),
        "metadata" => (Metadata, 0),
        _ => return None,
    })
}
