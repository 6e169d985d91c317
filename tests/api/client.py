"""Uses the API through the generated Python client, as a user's program would.

Usage: client.py BASE_URL, with the generated package `spillway_client` on the path.
"""

import csv
import io
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
from spillway_client.api.query import (
    export_logs,
    get_log,
    get_log_context,
    get_log_fields,
    get_log_stats,
    get_log_values,
    get_logs,
    tail_logs,
)
from spillway_client.models import (
    BatchAccepted,
    EventAccepted,
    EventContext,
    EventPage,
    FieldValues,
    Format,
    LogEvent,
    LogEventMetadataType0,
    LogFields,
    LogStats,
    Problem,
    Scope,
    SortOrder,
    StoredEvent,
    StoredEventMetadata,
)

T = TypeVar("T")

WAIT_SECONDS_MAX = 15.0
# A separate hour, so that the counts of the statistics are exact whatever else is stored.
HOUR = datetime(2001, 2, 3, 4, tzinfo=UTC)
SOURCE = f"python-{uuid4()}"
TRACE_ID = uuid4().hex


def minute(n: int) -> str:
    return (HOUR + timedelta(minutes=n)).isoformat()


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


def page(client: Client, **conditions: Any) -> EventPage:
    return expect(EventPage, get_logs.sync(client=client, source=[SOURCE], **conditions))


def messages(client: Client, **conditions: Any) -> list[str]:
    return [event.message for event in page(client, **conditions).events]


def check_query(client: Client, error_id: UUID) -> list[StoredEvent]:
    events = eventually(lambda: found if len(found := page(client).events) == 3 else None)
    assert [event.level for event in events] == ["WARN", "INFO", "ERROR"], "newest first, levels in their own names"
    assert messages(client, level=["INFO", "WARN"]) == ["third", "first"]
    assert messages(client, level=["WARN+"], q="third") == ["third"]
    assert [event.event_id for event in page(client, q="refused: STRASSE").events] == [error_id]
    assert [event.event_id for event in page(client, trace_id=TRACE_ID).events] == [error_id]
    assert messages(client, from_=minute(2), to=minute(4)) == ["first"], "from is inclusive, to exclusive"
    milliseconds = [str(int((HOUR + timedelta(minutes=n)).timestamp()) * 1_000) for n in (2, 4)]
    assert messages(client, from_=milliseconds[0], to=milliseconds[1]) == ["first"]
    assert messages(client, from_="-1h", to="now") == [], "the events are older than an hour"

    paged: list[UUID] = []
    following = page(client, limit=2)
    while following.events:
        paged += [event.event_id for event in following.events]
        if not following.next_cursor:
            break
        following = page(client, limit=2, cursor=following.next_cursor)
    assert paged == [event.event_id for event in events], "pages neither lose nor repeat events"

    refused = expect(Problem, get_logs.sync(client=client, limit=0))
    assert (refused.status, refused.code) == (400, "invalid_parameter"), refused
    absent = expect(Problem, get_log.sync(uuid4(), client=client))
    assert (absent.status, absent.code) == (404, "not_found"), absent
    return events


def check_language(client: Client, error_id: UUID) -> None:
    query = 'userId:12345 AND level>=WARN AND "refused: STRASSE"'
    assert [event.event_id for event in page(client, query=query).events] == [error_id]
    assert messages(client, query="NOT level:ERROR", order=SortOrder.ASC) == ["first", "third"], "oldest first"
    refused = expect(Problem, get_logs.sync(client=client, query="level:LOUD"))
    assert (refused.status, refused.code) == (400, "query_invalid"), refused
    assert refused.detail.startswith("query at character 7: expected "), refused


def check_context(client: Client, events: list[StoredEvent]) -> None:
    third, first, error = events
    context = expect(EventContext, get_log_context.sync(first.event_id, client=client))
    assert (context.before, context.event, context.after) == ([error], first, [third]), context
    assert not context.before_cursor and not context.after_cursor, "there are no further events of this source"
    alone = expect(EventContext, get_log_context.sync(first.event_id, client=client, before=0, after=0))
    assert (alone.before, alone.event, alone.after) == ([], first, []), alone
    assert page(client, cursor=alone.before_cursor).events == [error], "a cursor continues before the event"
    assert page(client, cursor=alone.after_cursor).events == [third], "and after it"
    refused = expect(Problem, get_log_context.sync(first.event_id, client=client, scope=Scope.TRACEID))
    assert (refused.status, refused.code) == (400, "invalid_parameter"), "this event belongs to no trace"


def check_fields(client: Client) -> None:
    fields = expect(LogFields, get_log_fields.sync(client=client, source=[SOURCE]))
    assert (fields.events, fields.complete) == (3, True), fields
    assert [(field.name, field.events) for field in fields.fields] == [("traceId", 1), ("userId", 1)], fields
    answer = get_log_values.sync(client=client, source=[SOURCE], field="userId", from_=minute(0), to=minute(5))
    values = expect(FieldValues, answer)
    assert (values.field, values.other) == ("userId", 0), values
    assert [(value.value, value.events) for value in values.values] == [("12345", 1)], values


def check_stats(client: Client) -> int:
    answer = get_log_stats.sync(client=client, from_=minute(0), to=minute(5), interval="1m")
    stats = expect(LogStats, answer)
    levels = {"TRACE": 0, "DEBUG": 0, "INFO": 1, "WARN": 1, "ERROR": 1, "FATAL": 0}
    assert (stats.by, stats.total.to_dict(), stats.other) == ("level", levels, 0), stats
    assert stats.interval_seconds == 60, stats
    assert [bucket.start for bucket in stats.buckets] == [HOUR + timedelta(minutes=n) for n in range(5)]
    assert [bucket.counts["INFO"] for bucket in stats.buckets] == [0, 0, 1, 0, 0], stats

    answer = get_log_stats.sync(
        client=client, query="level>=WARN", by="source", sparse=True, from_=minute(0), to=minute(5), interval="1m"
    )
    by_source = expect(LogStats, answer)
    assert (by_source.by, by_source.total.to_dict(), by_source.other) == ("source", {SOURCE: 2}, 0), by_source
    counts = {bucket.start: bucket.counts[SOURCE] for bucket in by_source.buckets}
    assert counts == {HOUR + timedelta(minutes=n): 1 for n in (1, 4)}, "without empty buckets"
    return len(stats.buckets)


def check_export(client: Client, events: list[StoredEvent]) -> int:
    lines = expect(str, export_logs.sync(client=client, source=[SOURCE], order=SortOrder.ASC)).split("\n")
    assert lines.pop() == "", "each line ends with a newline"
    assert [StoredEvent.from_dict(json.loads(line)) for line in lines] == events[::-1], "oldest first"
    table = expect(str, export_logs.sync(client=client, source=[SOURCE], format_=Format.CSV))
    records = [(record["eventId"], record["message"]) for record in csv.DictReader(io.StringIO(table, newline=""))]
    assert records == [(str(event.event_id), event.message) for event in events], "newest first"
    return len(lines)


@contextmanager
def tail(client: Client, **conditions: Any) -> Iterator[Iterator[tuple[int, UUID]]]:
    """An open tail: the id and the event of each Server-Sent Event that has one.

    The generated functions read a body to its end, and a tail never ends; so only their request is used.
    """
    request = tail_logs._get_kwargs(source=[SOURCE], **conditions)
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
        events = check_query(client, error_id)
        check_language(client, error_id)
        check_context(client, events)
        check_fields(client)
        buckets = check_stats(client)
        exported = check_export(client, events)
        tailed = check_tail(client)
    print(
        f"Python client: 1 event and {batch} of a batch accepted, {len(events)} found, {buckets} buckets, "
        f"{exported} exported, {tailed} tailed"
    )


main(sys.argv[1])
