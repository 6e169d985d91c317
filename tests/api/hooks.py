"""Extensions that tell schemathesis about this API beyond its document."""

import atexit
import json
import time
from collections import Counter
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, DeserializationContext, HookContext, Response

import exclusions  # noqa: F401  (registers its hooks)

STORED_SECONDS_MAX = 10.0
# Times in all forms.
TIMES = ["2024-01-15T10:30:00Z", "2024-01-14", "1705314600000", "now", "now-15m", "-1h"]

cases: Counter[str] = Counter()


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    # The document describes the body of a tail as text, which client generators need. Schemathesis takes the schema
    # of text/event-stream as that of one Server-Sent Event, and checks its data against `contentSchema`.
    tail = raw_schema["paths"]["/api/logs/tail"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    tail["schema"] = {
        "type": "object",
        "required": ["id", "data"],
        "properties": {
            "id": {"type": "string", "pattern": "^[0-9]+$"},
            "event": {"type": "string", "enum": ["message"]},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/StoredEvent"},
            },
        },
    }
    # An export is text for the same reason. Its lines are checked as an array.
    export = raw_schema["paths"]["/api/logs/export"]["get"]["responses"]["200"]["content"]["application/x-ndjson"]
    export["schema"] = {"type": "array", "items": {"$ref": "#/components/schemas/StoredEvent"}}


@schemathesis.deserializer("application/x-ndjson")
def lines_of(context: DeserializationContext, response: Response) -> list[Any]:
    lines = response.content.decode().split("\n")
    if lines.pop():
        raise ValueError("the last line is incomplete")
    return [json.loads(line) for line in lines]


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    # Any text matches the schema of a time, and almost none is one. Three of four become one, or the other parameters
    # of a search would hardly be tested.
    if case.meta is None or not case.meta.generation.mode.is_positive or not case.path.startswith("/api/logs"):
        return
    for name in ("from", "to"):
        text = (case.query or {}).get(name)
        if isinstance(text, str) and len(text) % 4:
            case.query[name] = TIMES[sum(map(ord, text)) % len(TIMES)]


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    """A batch as JSON lines with at least one valid event, because a batch without any is refused as a whole."""
    event = st.fixed_dictionaries(
        {
            "source": st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20),
            "level": st.sampled_from(["TRACE", "debug", "Info", "WARNING", "ERROR", "critical"]),
            "message": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        },
        optional={"metadata": st.dictionaries(st.text(max_size=5), st.integers() | st.booleans(), max_size=3)},
    ).map(json.dumps)
    broken = st.sampled_from(["", " ", "{", "[]", "null", '{"source":"a"}', "\0"])
    before, after = (draw(st.lists(event | broken, max_size=4)) for _ in range(2))
    return draw(st.sampled_from(["\n", "\r\n"])).join([*before, draw(event), *after]).encode()


schemathesis.openapi.media_type("application/x-ndjson", json_lines())


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    if case.meta is not None:
        cases[case.meta.phase.name.value] += 1
    if case.operation.label == "POST /api/logs" and response.status_code == 202:
        await_stored(response)


def await_stored(accepted: Response) -> None:
    """Waits until an accepted event is found. Storing is asynchronous, so later look-ups must wait for it."""
    url = f"{accepted.request.url}/{accepted.json()['eventId']}"
    deadline = time.monotonic() + STORED_SECONDS_MAX
    while (status := requests.get(url, timeout=STORED_SECONDS_MAX).status_code) != 200:
        assert time.monotonic() < deadline, f"an accepted event is not found: {url} answers {status}"
        time.sleep(0.002)


@atexit.register
def print_cases() -> None:
    print("cases:", ", ".join(f"{phase} {count}" for phase, count in sorted(cases.items())))
