"""Runs one client and reads its report."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .catalogue import Client
from .compare import Sent
from .install import Installation

EVENTS = 15
HOUR_SECONDS = 3600
READY_TEXT = '{"ready"'
REPORT_TEXT = '{"delivered"'


@dataclass
class Outcome:
    """What a runner reported."""

    sent: Sent
    delivered: int | None = None
    """How many events the client believes delivered; `None` if it does not say."""
    errors: list[str] = field(default_factory=list)
    ended: bool = False
    """Whether the runner ended by itself and reported."""


def run(
    installation: Installation,
    client: Client,
    url: str,
    name: str,
    seconds_max: float,
    pause_ms: int = 0,
    begin: Callable[[], None] | None = None,
    access: dict[str, str] | None = None,
) -> Outcome:
    """Lets a client send its events, with the variables of `access`.

    Calls `begin` when the client is ready to send, or has ended without, and lets it send when the call returns.
    """
    event_time_ms = int((time.time() - HOUR_SECONDS) * 1000)
    variables = {"EVENT_TIME_MS": str(event_time_ms), "EVENT_PAUSE_MS": str(pause_ms), **(access or {})}
    if begin:
        variables["AWAIT_START"] = "1"
    environment = {**os.environ, **installation.environment(), **variables}
    command = [*installation.command(client.ecosystem), client.name, url, name, str(EVENTS)]
    began, report = time.time(), None
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE if begin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        # With the daemons that it started.
        timer = threading.Timer(seconds_max, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        for line in process.stdout:
            if line.startswith(READY_TEXT) and begin:
                began = start(process, begin)
                begin = None
            elif line.startswith(REPORT_TEXT):
                report = json.loads(line)
        process.wait()
        timer.cancel()
        if begin:
            begin()
        errors.seek(0)
        printed = errors.read().decode(errors="replace").strip()
    outcome = Outcome(Sent(client, name, EVENTS, event_time_ms / 1000, began, time.time()))
    if report is None:
        outcome.errors = [f"no report, exit status {process.returncode}: {printed[-200:]}"]
        return outcome
    outcome.ended, outcome.delivered = True, report["delivered"]
    outcome.errors = list(report.get("errors") or [])
    return outcome


def start(process: subprocess.Popen, begin: Callable[[], None]) -> float:
    """Lets a client that is ready send its events after `begin`; returns the time of the first one."""
    begin()
    began = time.time()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write("\n")
        process.stdin.close()
    return began
