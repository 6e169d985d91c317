"""Runs one Python client: `run.py CLIENT URL RUN COUNT`. See plan.py for the rules."""

import importlib
import sys

from plan import Plan

# A module and a function of it: only the libraries of one client are loaded.
CLIENTS = {
    "otlp-http-py": "otlp.http",
    "otlp-http-py-gzip": "otlp.http",
    "otlp-grpc-py": "otlp.grpc",
    "elasticsearch-py": "bulk.elasticsearch",
    "opensearch-py": "bulk.opensearch",
    "python-logging-loki": "handlers.loki",
    "python-logging-loki-legacy": "handlers.loki",
    "splunk-handler": "handlers.splunk",
    "sysloghandler-tcp": "handlers.syslog",
    "sysloghandler-udp": "handlers.syslog",
    "rfc5424-logging-handler": "handlers.rfc5424",
}

if __name__ == "__main__":
    plan = Plan.of_arguments()
    if plan.client not in CLIENTS:
        sys.exit(f"unknown client {plan.client}")
    module, function = CLIENTS[plan.client].split(".")
    getattr(importlib.import_module(module), function)(plan)
