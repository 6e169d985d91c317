"""Uses the API through the generated Python client, as a user's program would.

Usage: client.py BASE_URL, with the generated package `spillway_client` on the path.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
from spillway_client import Client
from spillway_client.api.ingestion import post_log, post_log_batch
from spillway_client.api.query import get_log, get_log_stats, get_logs, tail_logs
from spillway_client.models import (
    BatchAccepted,
    EventAccepted,
    EventPage,
    LogEvent,
    LogEventMetadataType0,
    LogStats,
    Problem,
    StoredEvent,
    StoredEventMetadata,
)

T = TypeVar("T")

WAIT_SECONDS_MAX = 15.0
# A separate hour, so that the counts of the statistics are exact whatever else is stored.
HOUR = datetime(2001, 2, 3, 4, tzinfo=UTC)
SOURCE = f"python-{uuid4()}"
TRACE_ID = uuid4().hex


def expect(kind: type[T], answer: object) -> T:
    """Returns the answer if it has the type that the document specifies."""
    assert isinstance(answer, kind), f"expected {kind.__name__}, got {answer}"
    return answer


def eventually(probe: Callable[[], T | None]) -> T:
    """Polls until the probe finds something: an event is stored shortly after its 202."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while (found := probe()) is None:
        assert time.monotonic() < deadline, "nothing found in time"
        time.sleep(0.01)
    return found


def post(client: Client, event: LogEvent) -> UUID:
    answer = expect(EventAccepted, post_log.sync(client=client, body=event))
    assert answer.status == "Accepted", answer
    return answer.event_id


def check_single(client: Client) -> UUID:
    event_id = uuid4()
    metadata = LogEventMetadataType0()
    metadata["userId"] = "12345"
    event = LogEvent(
        source=SOURCE,
        level="error",
        message="Payment REFUSED: straße",
        event_id=event_id,
        timestamp=HOUR + timedelta(minutes=1, microseconds=123456),
        trace_id=TRACE_ID,
        metadata=metadata,
    )
    response = post_log.sync_detailed(client=client, body=event)
    answer = expect(EventAccepted, response.parsed)
    assert response.status_code == 202, response
    assert answer.event_id == event_id, answer
    assert answer.durability == "acknowledged", "an ERROR is acknowledged by the bus before its 202"

    def stored() -> StoredEvent | None:
        found = get_log.sync(event_id, client=client)
        return None if isinstance(found, Problem) else found

    found = eventually(stored)
    assert (found.event_id, found.source, found.level) == (event_id, SOURCE, "ERROR"), found
    assert (found.message, found.timestamp, found.trace_id) == (event.message, event.timestamp, TRACE_ID), found
    assert expect(StoredEventMetadata, found.metadata).to_dict() == {"userId": "12345"}, found
    return event_id


def check_batch(client: Client) -> int:
    events = [
        LogEvent(source=SOURCE, level="INFO", message="first", timestamp=HOUR + timedelta(minutes=2)),
        LogEvent(source=SOURCE, level="LOUD", message="second", timestamp=HOUR + timedelta(minutes=3)),
        LogEvent(source=SOURCE, level="WARNING", message="third", timestamp=HOUR + timedelta(minutes=4)),
    ]
    answer = expect(BatchAccepted, post_log_batch.sync(client=client, body=events))
    assert (answer.accepted, answer.failed) == (2, 1), answer
    counts = answer.durability
    assert counts.acknowledged + counts.journaled + counts.buffered == answer.accepted, answer
    assert [(error.index, error.code, error.retryable) for error in answer.errors] == [(1, "level_unknown", False)]
    return answer.accepted


def check_query(client: Client, error_id: UUID) -> int:
    def page(**conditions: Any) -> EventPage:
        return expect(EventPage, get_logs.sync(client=client, source=SOURCE, **conditions))

    events = eventually(lambda: found if len(found := page().events) == 3 else None)
    assert [event.level for event in events] == ["WARN", "INFO", "ERROR"], "newest first, levels in their own names"
    assert [event.message for event in page(level=["INFO", "WARN"]).events] == ["third", "first"]
    assert [event.event_id for event in page(q="refused: STRASSE").events] == [error_id]
    assert [event.event_id for event in page(trace_id=TRACE_ID).events] == [error_id]
    window = page(from_=HOUR + timedelta(minutes=2), to=HOUR + timedelta(minutes=4)).events
    assert [event.message for event in window] == ["first"], "from is inclusive, to exclusive"

    paged: list[UUID] = []
    following = page(limit=2)
    while following.events:
        paged += [event.event_id for event in following.events]
        if not following.next_cursor:
            break
        following = page(limit=2, cursor=following.next_cursor)
    assert paged == [event.event_id for event in events], "pages neither lose nor repeat events"

    refused = expect(Problem, get_logs.sync(client=client, limit=0))
    assert (refused.status, refused.code) == (400, "invalid_parameter"), refused
    absent = expect(Problem, get_log.sync(uuid4(), client=client))
    assert (absent.status, absent.code) == (404, "not_found"), absent
    return len(events)


def check_stats(client: Client) -> int:
    answer = get_log_stats.sync(client=client, from_=HOUR, to=HOUR + timedelta(minutes=5), interval="1m")
    stats = expect(LogStats, answer)
    total = stats.total
    assert (total.trace, total.debug, total.info, total.warn, total.error, total.fatal) == (0, 0, 1, 1, 1, 0), stats
    assert stats.interval_seconds == 60, stats
    assert [bucket.start for bucket in stats.buckets] == [HOUR + timedelta(minutes=minute) for minute in range(5)]
    assert [bucket.counts.info for bucket in stats.buckets] == [0, 0, 1, 0, 0], stats
    return len(stats.buckets)


@contextmanager
def tail(client: Client, **conditions: Any) -> Iterator[Iterator[tuple[int, UUID]]]:
    """An open tail: the id and the event of each Server-Sent Event that has one.

    The generated functions read a body to its end, and a tail never ends; so only their request is used.
    """
    request = tail_logs._get_kwargs(source=SOURCE, **conditions)
    with client.get_httpx_client().stream(**request) as response:
        assert response.status_code == 200, response
        assert response.headers["Content-Type"].startswith("text/event-stream"), response.headers
        yield events_of(response)


def events_of(response: httpx.Response) -> Iterator[tuple[int, UUID]]:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    position, data = 0, ""
    for line in response.iter_lines():
        assert time.monotonic() < deadline, "the tail sent no event in time"
        field, _, value = line.partition(":")
        if field == "id":
            position = int(value)
        elif field == "data":
            data += value
        elif line == "" and data:
            event = StoredEvent.from_dict(json.loads(data))
            assert event.source == SOURCE, event
            yield position, event.event_id
            data = ""
    raise AssertionError("the server ended the tail")


def check_tail(client: Client) -> int:
    event = LogEvent(source=SOURCE, level="FATAL", message="tailed")
    with tail(client, level=["FATAL"]) as events:
        post(client, LogEvent(source=SOURCE, level="DEBUG", message="not for this tail"))
        first = post(client, event)
        position, seen = next(events)
        assert seen == first, "an open tail delivers what is posted"
    second = post(client, event)
    with tail(client, level=["FATAL"], last_event_id=position) as events:
        assert next(events)[1] == second, "a resumed tail begins after the last event seen"
        third = post(client, event)
        assert next(events)[1] == third, "and delivers each event once"
    return len({first, second, third})


def main(base_url: str) -> None:
    with Client(base_url=base_url, timeout=httpx.Timeout(WAIT_SECONDS_MAX)) as client:
        error_id = check_single(client)
        batch = check_batch(client)
        found = check_query(client, error_id)
        buckets = check_stats(client)
        tailed = check_tail(client)
    print(f"Python client: 1 event and {batch} of a batch accepted, {found} found, {buckets} buckets, {tailed} tailed")


main(sys.argv[1])
