"""The clients: which package, which protocol, and what must arrive of each event.

A client is an entry here and a function of its runner (`../python`, `../node`, `../go`, `../java`, `../deb`).
"""

from dataclasses import dataclass
from enum import Enum


class Listener(Enum):
    """Where a client sends to."""

    HTTP = "http"
    OTLP_GRPC = "otlp-grpc"
    SYSLOG = "syslog"


class Clock(Enum):
    """Where the time of an event is from."""

    GIVEN = "given"
    """The client takes it from its caller: one hour before it is sent."""
    OWN = "own"
    """The client uses its own clock."""
    NONE = "none"
    """The client sends no time: the time of receipt is right."""


@dataclass(frozen=True)
class Client:
    """One client, in one configuration."""

    name: str
    ecosystem: str
    package: str
    """Whose version is shown; empty for a standard library."""
    protocol: str
    listener: Listener = Listener.HTTP
    clock: Clock = Clock.GIVEN
    precision_seconds: float = 0.002
    """How far the stored time may be from a given one."""
    source: bool = True
    """Whether the source must be that of the client."""
    trace: bool = False
    """Whether the trace and span ids must be stored."""
    order: bool = True
    """Whether the field `order` must be stored."""
    stack: bool = False
    """Whether the stack trace of the last event must be stored."""
    exact_times: bool = False
    """Whether times have more digits than milliseconds, so that Spillway recognises an event that is sent again."""
    parallel: bool = False
    """Whether it sends each event in a request of its own and waits for none: Spillway holds eight requests of a client."""
    in_faults: bool = False
    """Whether `--faults` runs it when no names are given."""

    open_only: str = ""
    """Why `--keys` skips it: what it lacks for a key (over syslog, for a certificate) or for TLS; empty if nothing."""


def otlp(name: str, ecosystem: str, package: str, protocol: str, **others: object) -> Client:
    """An OTLP client: everything that an event has arrives."""
    others = {"trace": True, "stack": True, **others}
    listener = Listener.OTLP_GRPC if protocol == "OTLP/gRPC" else Listener.HTTP
    return Client(name, ecosystem, package, protocol, listener, **others)


def syslog(name: str, ecosystem: str, package: str, clock: Clock = Clock.OWN, **others: object) -> Client:
    """A syslog client."""
    transport = "UDP" if name.endswith(("udp", "logback-syslog")) else "TCP"
    others = {"order": False, "open_only": "syslog over UDP has no TLS" if transport == "UDP" else "", **others}
    return Client(name, ecosystem, package, f"syslog {transport}", Listener.SYSLOG, clock, **others)


PYTHON_HTTP = "opentelemetry-exporter-otlp-proto-http"
PYTHON_GRPC = "opentelemetry-exporter-otlp-proto-grpc"
GO_HTTP = "go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
GO_GRPC = "go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
DAEMON = {"precision_seconds": 1.0, "order": False}

CLIENTS = (
    otlp("otlp-http-py", "python", PYTHON_HTTP, "OTLP/HTTP", exact_times=True, in_faults=True),
    otlp("otlp-http-py-gzip", "python", PYTHON_HTTP, "OTLP/HTTP", exact_times=True),
    otlp("otlp-http-json-js", "node", "@opentelemetry/exporter-logs-otlp-http", "OTLP/HTTP", in_faults=True),
    otlp("otlp-http-json-js-gzip", "node", "@opentelemetry/exporter-logs-otlp-http", "OTLP/HTTP"),
    otlp("otlp-http-proto-js", "node", "@opentelemetry/exporter-logs-otlp-proto", "OTLP/HTTP"),
    otlp("pino-opentelemetry", "node", "pino-opentelemetry-transport", "OTLP/HTTP", stack=False),
    otlp("otlp-http-go", "go", GO_HTTP, "OTLP/HTTP", exact_times=True, in_faults=True),
    otlp("otlp-http-java", "java", "opentelemetry-exporter-otlp", "OTLP/HTTP", exact_times=True, in_faults=True),
    otlp("otlp-http-java-gzip", "java", "opentelemetry-exporter-otlp", "OTLP/HTTP", exact_times=True),
    otlp("otlp-grpc-py", "python", PYTHON_GRPC, "OTLP/gRPC", exact_times=True),
    otlp("otlp-grpc-js", "node", "@opentelemetry/exporter-logs-otlp-grpc", "OTLP/gRPC", in_faults=True),
    otlp("otlp-grpc-go", "go", GO_GRPC, "OTLP/gRPC", exact_times=True, in_faults=True),
    otlp("otlp-grpc-java", "java", "opentelemetry-exporter-otlp", "OTLP/gRPC", exact_times=True),
    Client("elasticsearch-py", "python", "elasticsearch", "_bulk", trace=True, stack=True, in_faults=True),
    Client("opensearch-py", "python", "opensearch-py", "_bulk", trace=True, stack=True),
    Client("elasticsearch-js", "node", "@elastic/elasticsearch", "_bulk", trace=True, stack=True, in_faults=True),
    Client("opensearch-js", "node", "@opensearch-project/opensearch", "_bulk", trace=True, stack=True),
    # Fields with pino's own names: the level is a number, the text is `msg`.
    Client("pino-elasticsearch", "node", "pino-elasticsearch", "_bulk", trace=True),
    Client("winston-elasticsearch", "node", "winston-elasticsearch", "_bulk", trace=True, in_faults=True),
    Client(
        "esutil-go", "go", "github.com/elastic/go-elasticsearch/v8", "_bulk", trace=True, stack=True, in_faults=True
    ),
    Client("elasticsearch-java", "java", "elasticsearch-java", "_bulk", trace=True, stack=True, in_faults=True),
    Client("logback-elasticsearch-appender", "java", "logback-elasticsearch-appender", "_bulk", stack=True),
    Client("rsyslog-elasticsearch", "deb", "rsyslog-elasticsearch", "_bulk", in_faults=True, **DAEMON),
    # Fields with syslog-ng's own names: MESSAGE, PRIORITY, PROGRAM.
    Client("syslog-ng-elasticsearch", "deb", "syslog-ng-mod-http", "_bulk", **DAEMON),
    Client("python-logging-loki", "python", "python-logging-loki", "Loki", clock=Clock.OWN, in_faults=True),
    Client("python-logging-loki-legacy", "python", "python-logging-loki", "Loki"),
    Client("pino-loki", "node", "pino-loki", "Loki", in_faults=True),
    Client("pino-loki-unbatched", "node", "pino-loki", "Loki"),
    Client("winston-loki-json", "node", "winston-loki", "Loki"),
    Client("winston-loki-proto", "node", "winston-loki", "Loki", in_faults=True),
    Client("loki-client-go", "go", "github.com/grafana/loki-client-go", "Loki", exact_times=True, in_faults=True),
    Client("slog-loki", "go", "github.com/samber/slog-loki/v3", "Loki", exact_times=True),
    Client("loki4j-json", "java", "loki-logback-appender", "Loki", trace=True, exact_times=True, in_faults=True),
    Client("loki4j-proto", "java", "loki-logback-appender", "Loki", trace=True, exact_times=True),
    Client("splunk-handler", "python", "splunk-handler", "HEC", in_faults=True),
    Client("splunk-logging", "node", "splunk-logging", "HEC", order=False, in_faults=True),
    syslog("sysloghandler-tcp", "python", "", Clock.NONE, open_only="SysLogHandler has no TLS"),
    syslog("sysloghandler-udp", "python", "", Clock.NONE),
    syslog("rfc5424-logging-handler", "python", "rfc5424-logging-handler", Clock.GIVEN, order=True),
    syslog("log-syslog-tcp", "go", "", open_only="log/syslog has no TLS"),
    syslog("log-syslog-udp", "go", ""),
    syslog(
        "winston-syslog-tcp",
        "node",
        "winston-syslog",
        open_only="its TLS neither verifies the server nor shows a certificate",
    ),
    syslog("winston-syslog-udp", "node", "winston-syslog", precision_seconds=1.0),
    syslog("logback-syslog", "java", "logback-classic", Clock.GIVEN, precision_seconds=1.0),
    syslog("log4j2-syslog", "java", "log4j-core", Clock.GIVEN, order=True),
    syslog("rsyslog-tcp", "deb", "rsyslog", Clock.GIVEN, precision_seconds=1.0, in_faults=True),
    syslog("rsyslog-tcp-octets", "deb", "rsyslog", Clock.GIVEN, precision_seconds=1.0),
    syslog("rsyslog-udp", "deb", "rsyslog", Clock.GIVEN, precision_seconds=1.0),
    syslog("syslog-ng-tcp", "deb", "syslog-ng-core", Clock.GIVEN, precision_seconds=1.0),
    syslog("syslog-ng-tcp-octets", "deb", "syslog-ng-core", Clock.GIVEN, precision_seconds=1.0, in_faults=True),
    Client("winston-http", "node", "winston", "HTTP", parallel=True, in_faults=True),
    Client("winston-http-batch", "node", "winston", "HTTP"),
    Client("log4j2-http", "java", "log4j-core", "HTTP", stack=True, in_faults=True),
    Client("syslog-ng-http", "deb", "syslog-ng-mod-http", "HTTP", in_faults=True, **DAEMON),
)


def named(names: list[str]) -> tuple[Client, ...]:
    """The clients with these names, or all; an unknown name is an error."""
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        raise LookupError(f"unknown client: {', '.join(sorted(unknown))}")
    return tuple(client for client in CLIENTS if not names or client.name in names)
