"""OpenTelemetry's SDK: the logging handler, a batch processor, and the exporters for HTTP and gRPC."""

import logging

from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import handlers
from plan import SPAN_ID, TRACE_ID, Plan


def http(plan: Plan) -> None:
    """OTLP/HTTP with protobuf, with gzip if the name of the client says so."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    compression = Compression.Gzip if plan.client.endswith("gzip") else Compression.NoCompression
    send(plan, OTLPLogExporter(endpoint=f"{plan.url}/v1/logs", compression=compression))


def grpc(plan: Plan) -> None:
    """OTLP/gRPC."""
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    send(plan, OTLPLogExporter(endpoint=plan.url))


def send(plan: Plan, exporter: object) -> None:
    """Sends every event; counts the batches that the exporter reports as delivered."""
    delivered = 0
    export = exporter.export

    def counted(batch: list) -> object:
        nonlocal delivered
        result = export(batch)
        if result.name == "SUCCESS":
            delivered += len(batch)
        return result

    exporter.export = counted
    logging.getLogger("opentelemetry").addHandler(Errors(plan))
    provider = LoggerProvider(resource=Resource.create({"service.name": plan.source}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=500))
    context = SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), is_remote=False, trace_flags=TraceFlags(1))
    attach(trace.set_span_in_context(NonRecordingSpan(context)))
    handlers.send(plan, LoggingHandler(logger_provider=provider), exception=True)
    provider.force_flush()
    provider.shutdown()
    plan.report(delivered)


class Errors(logging.Handler):
    """Keeps what the SDK logs about failures."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(logging.WARNING)
        self.plan = plan

    def emit(self, record: logging.LogRecord) -> None:
        self.plan.failed(record.getMessage())
