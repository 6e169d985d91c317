"""What happens to events while something is missing.

Each fault begins when clients begin to send, and passes by itself. An event that a client reports as delivered must
be stored. With `producer-killed` this holds for ERROR only: INFO and WARN are promised at most once, and are lost with
the memory of the process.
"""

import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .catalogue import Client, Listener
from .compare import LEVELS, Comparison, await_rows, compare, level_of, read
from .install import Installation
from .runner import EVENTS, Outcome, run
from .spillway import NotReady, Spillway, request

AGENT_EVENTS_PER_SECOND = 200
AGENT_LIMIT = ("rate_limit", "agent_events_per_second")
SETTINGS = {
    "RATE_LIMIT__SINGLE_PER_SECOND": "0",
    "RATE_LIMIT__BATCH_PER_SECOND": "0",
    # Small, so that both fill up soon.
    "MEMORY_BYTES_MAX": "8MiB",
    "JOURNAL__BYTES_MAX": "16MiB",
}
PAUSE_MS = 200
RUNNER_SECONDS_MAX = 120
STORED_WITHIN_SECONDS = 30
# A circuit breaker is open for 60 s at most.
SENT_WITHIN_SECONDS = 90
OUTAGE_SECONDS = 10
# In the middle of the first events.
AFTER_FIRST_EVENTS_SECONDS = 0.5
FILLER_BYTES = 200_000
FILLER_REQUESTS_MAX = 1000
# Clients that send at the same time: as many as two processors start within a few seconds. Where requests are held, each client is
# alone: Spillway takes those of one address for one client, of which eight requests wait.
GROUP = 6
GROUP_HELD = 1


@dataclass(frozen=True)
class Scenario:
    """One kind of failure."""

    name: str
    fault: Callable[[Spillway], None]
    """Runs beside the clients, from their first events on, and ends with the system as it was."""
    prepare: Callable[[Spillway], None] = lambda spillway: None
    """Runs before the clients start."""
    held: bool = False
    """Whether requests are held that long: no event may be missing, even if the client retries nothing."""
    may_lose: tuple[str, ...] = ()
    """Levels whose delivered events it may lose."""


@dataclass
class Row:
    """One client in one scenario."""

    scenario: Scenario
    outcome: Outcome
    found: Comparison
    undelivered: int = 0
    """Accepted events that the producer had not sent when the time was up."""
    lost: int = 0
    """Events reported as delivered that are not stored, beyond what the scenario may lose."""
    broken: str = ""
    """Which promise was broken; empty if none."""


def use_tokens(seconds: float) -> Callable[[Spillway], None]:
    """Uses up what one client may send, and as much in advance as comes back in this time."""

    def fault(spillway: Spillway) -> None:
        now = time.time_ns()
        values = [[str(now), "filler"]] * round(AGENT_EVENTS_PER_SECOND * (1 + seconds))
        body = {"streams": [{"stream": {"service_name": "filler", "level": "info"}, "values": values}]}
        status, _ = request(f"{spillway.url}/loki/api/v1/push", body)
        if status != 204:
            raise NotReady(f"the filler got {status}")
        time.sleep(seconds)

    return fault


def fill(spillway: Spillway) -> None:
    """Suspends Kafka and fills memory and journal with events of the highest level, until one is refused."""
    spillway.services.run("pause", "kafka")
    # Not in the message: every comparison searches the messages.
    event = {"source": "filler", "level": "ERROR", "message": "filler", "stackTrace": "x" * FILLER_BYTES}
    for _ in range(FILLER_REQUESTS_MAX):
        if request(f"{spillway.url}/api/logs", event)[0] == 503:
            return
    raise NotReady("memory and journal do not fill up")


def resume_after(seconds: float) -> Callable[[Spillway], None]:
    """Lets Kafka go on after a time."""

    def fault(spillway: Spillway) -> None:
        time.sleep(seconds)
        spillway.services.run("resume", "kafka")

    return fault


def stop_kafka(spillway: Spillway) -> None:
    """Stops Kafka for ten seconds."""
    spillway.services.run("stop", "kafka")
    time.sleep(OUTAGE_SECONDS)
    spillway.services.run("start", "kafka")


def restart(with_signal: signal.Signals) -> Callable[[Spillway], None]:
    """Ends the producer behind the gateway, and starts it again."""

    def fault(spillway: Spillway) -> None:
        time.sleep(AFTER_FIRST_EVENTS_SECONDS)
        producer = spillway.processes["producer"]
        producer.stop(with_signal)
        producer.start()

    return fault


SCENARIOS = (
    Scenario("no-tokens-2s", use_tokens(2), held=True),
    Scenario("no-tokens-5s", use_tokens(5)),
    Scenario("no-room-2s", resume_after(2), prepare=fill, held=True),
    Scenario("no-room-5s", resume_after(5), prepare=fill),
    Scenario("kafka-stopped", stop_kafka),
    Scenario("producer-killed", restart(signal.SIGKILL), may_lose=("INFO", "WARN")),
    Scenario("producer-terminated", restart(signal.SIGTERM)),
)


def settings(known: set[tuple[str, str]]) -> dict[str, str]:
    """The settings of the scenarios; the limit of agents only if the program has it."""
    limit = {"__".join(AGENT_LIMIT).upper(): str(AGENT_EVENTS_PER_SECOND)}
    return SETTINGS | (limit if AGENT_LIMIT in known else {})


def impossible(scenario: Scenario, known: set[tuple[str, str]]) -> str:
    """Why a scenario is not possible with this program; empty if it is."""
    if scenario.name.startswith("no-tokens") and AGENT_LIMIT not in known:
        return f"the program has no setting {'.'.join(AGENT_LIMIT)}"
    return ""


def run_group(
    installation: Installation, spillway: Spillway, clients: list[Client], scenario: Scenario, name: str
) -> list[Row]:
    """Runs clients in one scenario, all at once: the fault and their events begin when all of them are ready."""
    scenario.prepare(spillway)
    failures: list[str] = []

    def guarded() -> None:
        try:
            scenario.fault(spillway)
        except Exception:
            failures.append(traceback.format_exc(limit=1))

    fault = threading.Thread(target=guarded)
    ready = threading.Barrier(len(clients), action=fault.start, timeout=RUNNER_SECONDS_MAX)

    def run_one(client: Client) -> Outcome:
        url, run_name = spillway.urls[client.listener], f"{name}-{scenario.name}"
        return run(installation, client, url, run_name, RUNNER_SECONDS_MAX, PAUSE_MS, ready.wait)

    with ThreadPoolExecutor(len(clients)) as pool:
        outcomes = list(pool.map(run_one, clients))
    fault.join()
    if failures:
        raise NotReady(f"{scenario.name}: {failures[0]}")
    undelivered = await_backlog(spillway)
    rows = []
    for outcome in outcomes:
        wanted = EVENTS if outcome.delivered is None or scenario.held else outcome.delivered
        stored = await_rows(spillway.url, outcome.sent, wanted, STORED_WITHIN_SECONDS)
        rows.append(judged(scenario, outcome, compare(outcome.sent, stored), undelivered))
    return rows


def await_backlog(spillway: Spillway) -> int:
    """Waits until the producer has sent all that it accepted; returns what is left when the time is up."""
    deadline = time.monotonic() + SENT_WITHIN_SECONDS
    while (undelivered := spillway.undelivered()) != 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    return undelivered


def judged(scenario: Scenario, outcome: Outcome, found: Comparison, undelivered: int = 0) -> Row:
    """Which promise was broken, if any."""
    row, client = Row(scenario, outcome, found, undelivered), outcome.sent.client
    may_be_lost = sum(level_of(number, outcome.sent.count) in scenario.may_lose for number in found.missing)
    row.lost = max(0, (outcome.delivered or 0) - found.stored - may_be_lost)
    if not outcome.ended:
        row.broken = "the client did not end"
    elif undelivered:
        row.broken = f"{undelivered} accepted events were not sent within {SENT_WITHIN_SECONDS} s after the fault"
    elif row.lost:
        row.broken = f"{row.lost} delivered but not stored"
    elif found.repeated and client.exact_times:
        row.broken = f"{found.repeated} stored twice"
    elif scenario.held and found.missing and client.listener is not Listener.SYSLOG and not client.parallel:
        row.broken = f"{len(found.missing)} not stored, though requests are held that long"
    return row


def read_again(spillway: Spillway, rows: list[Row]) -> list[Row]:
    """The same rows with what is stored now: repeats may have come later."""
    return [
        judged(
            row.scenario, row.outcome, compare(row.outcome.sent, read(spillway.url, row.outcome.sent)), row.undelivered
        )
        for row in rows
    ]


def table(rows: list[Row]) -> list[str]:
    """A Markdown table."""
    lines = [
        "| scenario | client | sent | delivered | stored | missing | lost | twice | note |",
        "|---|---|--:|--:|--:|---|--:|--:|---|",
    ]
    for row in rows:
        client, found = row.outcome.sent.client, row.found
        missing = [f"{count} {level}" for level in LEVELS if (count := row_missing(row, level))]
        delivered = "–" if row.outcome.delivered is None else str(row.outcome.delivered)
        note = f"**{row.broken}**" if row.broken else ""
        cells = [
            row.scenario.name,
            client.name,
            EVENTS,
            delivered,
            found.stored,
            ", ".join(missing),
            row.lost,
            found.repeated,
            note,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def row_missing(row: Row, level: str) -> int:
    """How many events of a level are missing."""
    return sum(level_of(number, row.outcome.sent.count) == level for number in row.found.missing)
