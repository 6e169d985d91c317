"""Handlers of Python's `logging`. They report errors to `handleError`, and nothing else."""

import logging
import socket
import sys
from logging.handlers import SysLogHandler

from plan import Event, Plan

PYTHON_LEVELS = {"INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}


class Failure(Exception):
    """What the last event of a run reports, so that it has a stack trace."""


def failure() -> tuple:
    """Exception information with a stack trace."""
    try:
        raise Failure("the disk of shard 7 is full")
    except Failure:
        return sys.exc_info()


def record_of(plan: Plan, event: Event, extra: dict) -> logging.LogRecord:
    """A record with the time of the event; the last one has an exception."""
    logger = logging.getLogger(plan.source)
    exception = failure() if event.last else None
    level = PYTHON_LEVELS[event.level]
    record = logger.makeRecord(logger.name, level, __file__, 1, event.text, (), exception, extra=extra)
    record.created, record.msecs = event.seconds, event.seconds % 1 * 1000
    return record


def send(plan: Plan, handler: logging.Handler, exception: bool = False, **extra: object) -> None:
    """Sends every event through a handler; `extra` values that can be called get the event."""
    handler.handleError = lambda record: plan.failed(repr(sys.exc_info()[1]))
    for event in plan.events():
        values = {name: value(event) if callable(value) else value for name, value in extra.items()}
        record = record_of(plan, event, {"order": event.number, **values})
        if not exception:
            record.exc_info = None
        handler.handle(record)
    handler.flush()
    handler.close()


def loki(plan: Plan) -> None:
    """python-logging-loki: one request per event, with the time of sending in version 1."""
    from logging_loki import LokiHandler

    legacy = plan.client.endswith("legacy")
    path = "/api/prom/push" if legacy else "/loki/api/v1/push"
    version = "0" if legacy else "1"
    handler = LokiHandler(url=plan.url + path, tags={"app": plan.source}, auth=plan.login, version=version)
    send(plan, handler, tags=lambda event: {"order": str(event.number)})
    plan.report(plan.count - len(plan.errors))


def splunk(plan: Plan) -> None:
    """splunk-handler: one request per event; the event is a text with JSON in it."""
    from splunk_handler import SplunkHandler

    address = plan.address
    handler = SplunkHandler(
        host=address.hostname,
        port=address.port,
        token=plan.key or "token",
        index="main",
        protocol=address.scheme,
        verify=plan.secure,
        flush_interval=0,
        # With four, it takes seven seconds to give up an event, and the next one only then.
        retry_count=1 if plan.secure else 4,
        retry_backoff=0.5,
        allow_overrides=True,
        source=plan.source,
    )
    handler.setFormatter(logging.Formatter('{"level":"%(levelname)s","message":"%(message)s","order":%(order)d}'))
    # Two messages for each failure, the second of which is a stack trace.
    handler.write_log = lambda text: None if text.startswith("Traceback") else plan.failed(text)
    send(plan, handler, _time=lambda event: event.seconds)
    plan.report(plan.count - len(plan.errors))


def syslog(plan: Plan) -> None:
    """SysLogHandler: neither time nor host, and a NUL after each message, also on TCP."""
    address = plan.address
    kind = socket.SOCK_STREAM if plan.client.endswith("tcp") else socket.SOCK_DGRAM
    handler = SysLogHandler(address=(address.hostname, address.port), socktype=kind)
    handler.ident = f"{plan.source}: "
    send(plan, handler)
    plan.report(None)


def rfc5424(plan: Plan) -> None:
    """rfc5424-logging-handler: structured data, and a byte order mark before the text."""
    from rfc5424logging import Rfc5424SysLogHandler

    address = plan.address
    handler = Rfc5424SysLogHandler(
        address=(address.hostname, address.port),
        socktype=socket.SOCK_STREAM,
        appname=plan.source,
        enterprise_id=32473,
        tls_enable=plan.secure,
        tls_ca_bundle=plan.authority,
        tls_client_cert=plan.certificate,
    )
    send(plan, handler, structured_data=lambda event: {"event": {"order": str(event.number)}})
    plan.report(None)
