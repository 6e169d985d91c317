"""Reads back what is stored, and compares it with what a client was to send.

The comparison is pure: rows and times are arguments. `test_compare.py` shows each deviation that it finds.
"""

import json
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from .catalogue import Client, Clock
from .spillway import request

LEVELS = ("INFO", "WARN", "ERROR")
TRACE_ID = "5f2b1c7d9e3a48606b1d0c4e8f7a9235"
SPAN_ID = "9c41d07be2a35f68"
STACK_TRACE_TEXT = "shard 7"
CLOCK_SECONDS_MAX = 60.0
PAGE = 1000
DEPTH_MAX = 16


@dataclass(frozen=True)
class Sent:
    """What a client was to send."""

    client: Client
    run: str
    count: int
    event_time: float
    """Time of event 0, in seconds since 1970, for clients that take it."""
    began: float
    ended: float
    """When it began and ended to send."""

    def text(self, number: int) -> str:
        """The message of an event."""
        return f"clients {self.run} {self.client.name} {number}"


@dataclass
class Comparison:
    """What was found of the events of one client; `None` means that it does not apply."""

    stored: int = 0
    """Different events that are stored with their text."""
    missing: list[int] = field(default_factory=list)
    """Numbers of the events that are not stored."""
    repeated: int = 0
    """Rows beyond the first of an event."""
    levels: bool | None = None
    times: bool | None = None
    fields: bool | None = None
    notes: list[str] = field(default_factory=list)

    def is_right(self) -> bool:
        """Whether every event is stored once, as it was sent."""
        return not self.missing and not self.repeated and not self.notes


def level_of(number: int, count: int) -> str:
    """The level of an event: a third of the events each."""
    return LEVELS[number * len(LEVELS) // count]


def read(url: str, sent: Sent) -> list[dict]:
    """All rows of a client, with each page; an empty list if there is no answer."""
    rows, cursor = [], ""
    while True:
        query = {"q": f"clients {sent.run} {sent.client.name} ", "limit": str(PAGE)} | (
            {"cursor": cursor} if cursor else {}
        )
        status, page = request(f"{url}/api/logs?{urllib.parse.urlencode(query)}")
        if status != 200:
            return rows
        rows += page["events"]
        cursor = page.get("nextCursor")
        if not cursor:
            return rows


def await_rows(url: str, sent: Sent, rows_min: int, seconds: float) -> list[dict]:
    """Reads until so many different events are stored, or the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        rows = read(url, sent)
        if len({row["message"] for row in rows}) >= rows_min or time.monotonic() > deadline:
            return rows
        time.sleep(0.2)


def compare(sent: Sent, rows: list[dict]) -> Comparison:
    """Compares rows with what was sent."""
    found, client = Comparison(), sent.client
    numbers = {sent.text(number): number for number in range(sent.count)}
    # Some daemons keep the space after the colon of a header.
    known = [(numbers[text], row) for row in rows if (text := row["message"].strip()) in numbers]
    counts = Counter(number for number, _ in known)
    found.stored, found.repeated = len(counts), len(known) - len(counts)
    found.missing = [number for number in range(sent.count) if number not in counts]
    strange = [row["message"] for row in rows if row["message"].strip() not in numbers]
    if strange:
        found.notes.append(f"{len(strange)} with another text, such as {strange[0][:80]!r}")
    if not known:
        return found
    wrong = [f"{level_of(number, sent.count)} is {row['level']}" for number, row in known]
    wrong = sorted({text for text in wrong if text.split(" is ")[0] != text.split(" is ")[1]})
    found.levels = not wrong
    times = wrong_times(sent, known)
    found.times = not times
    fields = sorted({text for number, row in known for text in wrong_fields(sent, number, row)})
    expects_fields = client.source or client.trace or client.order or client.stack
    found.fields = not fields if expects_fields else None
    found.notes += wrong + times + fields
    return found


def wrong_times(sent: Sent, known: list[tuple[int, dict]]) -> list[str]:
    """What is wrong with the times."""
    client, notes = sent.client, []
    if client.clock is Clock.GIVEN:
        differences = [seconds(row["timestamp"]) - sent.event_time - number / 1000 for number, row in known]
        worst = max(differences, key=abs)
        if abs(worst) > client.precision_seconds:
            notes.append(f"a time differs by {worst:.3f} s")
        return notes
    differences = [max(sent.began - (at := seconds(row["timestamp"])), at - sent.ended) for _, row in known]
    if max(differences) > CLOCK_SECONDS_MAX:
        notes.append(f"a time differs by {max(differences):.0f} s")
    if client.clock is Clock.OWN and all(row["timestamp"] == row["receivedAt"] for _, row in known):
        notes.append("the time is that of receipt")
    return notes


def wrong_fields(sent: Sent, number: int, row: dict) -> list[str]:
    """What is missing of one event beside text, level and time."""
    client, metadata, wrong = sent.client, row.get("metadata") or {}, []
    if client.source and row["source"] != f"clients-{client.name}":
        wrong.append(f"the source is {row['source']}")
    if client.trace and (row.get("traceId"), row.get("spanId")) != (TRACE_ID, SPAN_ID):
        wrong.append("trace or span id is missing")
    if client.order and str(number) not in leaves(metadata, "order"):
        wrong.append("the field order is missing")
    stack_traces = row.get("stackTrace") or json.dumps(metadata)
    if client.stack and number == sent.count - 1 and STACK_TRACE_TEXT not in stack_traces:
        wrong.append("the stack trace is missing")
    return wrong


def leaves(value: object, name: str, depth: int = 0) -> list[str]:
    """The values under a name, at any depth; a name with dots counts by its last part."""
    if not isinstance(value, dict) or depth > DEPTH_MAX:
        return []
    found = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            found += leaves(inner, name, depth + 1)
        elif key.rsplit(".", 1)[-1] == name:
            found.append(str(inner))
    return found


def seconds(rfc3339: str) -> float:
    """A time in seconds since 1970."""
    return datetime.fromisoformat(rfc3339).timestamp()
