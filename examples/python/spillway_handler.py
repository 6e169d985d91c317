"""A logging handler that sends records to Spillway. Needs Python 3.9 or newer; copy it into your application.

    handler = SpillwayHandler("checkout")
    logging.getLogger().addHandler(handler)

* A call to the logger never waits for the network: it puts the event into a bounded queue, and one thread sends
  batches.
* A batch is sent until Spillway answers it, each time with the same Idempotency-Key and the same eventIds. Spillway
  stores each event once.
* An event that is dropped is counted in `dropped`, reported on standard error, and reported to Spillway as a WARN
  event.
* `logging.shutdown`, which Python calls at its end, sends what is left, for at most `close_seconds`.
"""

import collections
import datetime
import itertools
import json
import logging
import math
import os
import random
import re
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
import uuid
import weakref

# Limits of Spillway's API.
SOURCE_BYTES_MAX = 255
TEXT_BYTES_MAX = 256 * 1024
METADATA_BYTES_MAX = 64 * 1024
# A batch fits the default limit of common proxies for a body, 1 MiB.
BATCH_BYTES_MAX = 1_000_000
# Spillway answers after at most 30 s.
ANSWER_TIMEOUT_SECONDS = 35
ANSWER_BYTES_MAX = 1024 * 1024
BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 10
RETRY_AFTER_SECONDS_MAX = 60
# At the end there is little time left: shorter pauses.
PAUSE_AT_CLOSE_SECONDS_MAX = 0.5
REPORT_INTERVAL_SECONDS = 60
# The API allows 16 levels of nesting.
DEPTH_MAX = 8
ELEMENTS_MAX = 1000

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class SpillwayHandler(logging.Handler):
    """Sends log records to Spillway in batches.

    source            name of the application, 1 to 255 bytes
    url               base URL of Spillway; default: LOGS_URL, or http://127.0.0.1:8080
    headers           further headers of each request, such as Authorization
    queue_events_max  events that wait for Spillway at most; the last tenth is for ERROR and FATAL
    queue_bytes_max   the same in bytes of JSON
    batch_events_max  events in one request at most: 1 to 10000
    linger_seconds    how long an event waits for others to share a request
    close_seconds     how long `close` sends what is left
    """

    def __init__(self, source, url=None, *, headers=None, level=logging.NOTSET, queue_events_max=10_000,
                 queue_bytes_max=16 * 1024 * 1024, batch_events_max=500, linger_seconds=0.2, close_seconds=10):
        super().__init__(level)
        if not 1 <= len(source.encode()) <= SOURCE_BYTES_MAX or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in source):
            raise ValueError("source must have 1 to 255 bytes and no control characters")
        base = (url or os.environ.get("LOGS_URL") or "http://127.0.0.1:8080").rstrip("/")
        self._url = base + "/api/logs/batch"
        self._headers = {**(headers or {}), "Content-Type": "application/json"}
        self._source = source
        self._queue_events_max = queue_events_max
        self._queue_bytes_max = queue_bytes_max
        self._batch_events_max = batch_events_max
        self._linger_seconds = linger_seconds
        self._close_seconds = close_seconds
        self._dropped = 0
        self._reset()
        # A child process has no sender thread, and the parent sends what waits. The child begins with an empty queue.
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self._reset)
            os.register_at_fork(after_in_child=lambda: (reset() or (lambda: None))())

    def _reset(self):
        self._changed = threading.Condition(threading.Lock())
        # Encoded events in order. Those of the batch that is being sent stay here until it is answered.
        self._queue = collections.deque()
        self._queue_bytes = 0
        self._thread = None
        self._closing = self._stopped = False
        self._dropped_unreported = 0
        self._reported_at = None

    @property
    def dropped(self):
        """Number of events that were dropped."""
        return self._dropped

    def emit(self, record):
        """Queues a record."""
        try:
            event = self._event_of(record)
        except Exception:
            self.handleError(record)
            return
        self._put(event, severe=record.levelno >= logging.ERROR)

    def close(self):
        """Sends what is left, for at most `close_seconds`, and drops the rest."""
        deadline = time.monotonic() + self._close_seconds
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(max(0, deadline - time.monotonic()))
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            left = len(self._queue)
            self._queue.clear()
            self._dropped += left
        if left:
            self._say(f"{left} events were not sent before the end", force=True)
        super().close()

    # ---- Events

    def _event_of(self, record):
        metadata = {"logger": record.name}
        metadata.update((key, value) for key, value in vars(record).items() if key not in _OWN_ATTRIBUTES)
        time_of_event = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        event = {
            "eventId": str(uuid.uuid4()),
            "timestamp": time_of_event.isoformat(timespec="microseconds"),
            "source": self._source,
            "level": _level_of(record.levelno),
            "message": _cut(record.getMessage()) or "(empty)",
        }
        stack_trace = _stack_trace_of(record)
        if stack_trace:
            event["stackTrace"] = _cut(stack_trace)
        for field, names, digits in (("traceId", ("traceId", "trace_id"), 32), ("spanId", ("spanId", "span_id"), 16)):
            for name in names:
                if re.fullmatch("[0-9a-fA-F]{%d}" % digits, str(metadata.get(name, ""))):
                    event[field] = str(metadata.pop(name))
        metadata = _plain(metadata)
        size = len(_encode(metadata))
        event["metadata"] = metadata if size <= METADATA_BYTES_MAX else {"metadataBytesDropped": size}
        return _encode(event)

    def _put(self, event, severe, at_close=False):
        share = 1 if severe else 0.9
        with self._changed:
            fits = (len(self._queue) < self._queue_events_max * share
                    and self._queue_bytes + len(event) <= self._queue_bytes_max * share)
            if fits and not self._stopped and (at_close or not self._closing):
                self._queue.append(event)
                self._queue_bytes += len(event)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="spillway", daemon=True)
                    self._thread.start()
                # Each event would wake the thread too often.
                if len(self._queue) in (1, self._batch_events_max):
                    self._changed.notify_all()
                return
        self._drop(1, "the handler is closed" if self._closing else "the queue is full")

    # ---- The sender thread

    def _run(self):
        while True:
            batch = self._next_batch()
            if not batch:
                return
            self._send(batch)

    def _next_batch(self):
        """The next events, which stay in the queue. Empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            full = lambda: len(self._queue) >= self._batch_events_max or self._closing
            self._changed.wait_for(full, self._linger_seconds)
            if self._stopped:
                return []
            batch, size = [], 0
            for event in itertools.islice(self._queue, self._batch_events_max):
                size += len(event) + 1
                if batch and size > BATCH_BYTES_MAX:
                    break
                batch.append(event)
            return batch

    def _send(self, batch):
        """Sends a batch until it is answered."""
        body = b"[" + b",".join(batch) + b"]"
        key = str(uuid.uuid4())
        backoff = BACKOFF_SECONDS_MIN
        while True:
            status, retry_after, answer = self._post(body, key)
            if status == 202 and not _is_about(answer, len(batch)):
                status, answer = None, {"detail": "the answer is invalid"}
            if status is not None and status != 408 and status != 429 and status < 500:
                break
            self._say(f"Spillway takes no events, trying again: {answer.get('detail') or status}")
            pause = retry_after if retry_after is not None else backoff * random.uniform(0.5, 1)
            backoff = min(backoff * 2, BACKOFF_SECONDS_MAX)
            if not self._pause(pause):
                return
        self._settle(batch, status, answer)

    def _settle(self, batch, status, answer):
        """Removes an answered batch from the queue, and puts back what Spillway will take later."""
        errors = answer["errors"] if status == 202 else []
        again = [batch[error["index"]] for error in errors if error.get("retryable")]
        with self._changed:
            if self._stopped:
                return
            for event in batch:
                self._queue.popleft()
                self._queue_bytes -= len(event)
            self._queue.extend(again)
            self._queue_bytes += sum(map(len, again))
        if status != 202:
            self._drop(len(batch), f"{status} {answer.get('code', '')}: {answer.get('detail', '')}")
            return
        refused = [error for error in errors if not error.get("retryable")]
        if refused:
            self._drop(len(refused), f"{refused[0].get('code')}: {refused[0].get('detail')}")
        if again:
            self._pause(1)
        elif self._dropped_unreported:
            self._report_dropped()

    def _post(self, body, key):
        """Status (None without an answer), Retry-After in seconds, and the decoded answer."""
        request = urllib.request.Request(self._url, body, {**self._headers, "Idempotency-Key": key}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_SECONDS) as answer:
                return answer.status, None, _object(answer)
        except urllib.error.HTTPError as error:
            with error:
                seconds = re.fullmatch("[0-9]{1,9}", error.headers.get("Retry-After", ""))
                retry_after = min(int(seconds[0]), RETRY_AFTER_SECONDS_MAX) if seconds else None
                return error.code, retry_after, _object(error)
        except Exception as error:  # No answer: the outcome is unknown.
            return None, None, {"detail": str(error)}

    def _pause(self, seconds):
        """Waits; shorter while the handler closes. False when there is no time left."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)
            if self._closing:
                self._changed.wait_for(lambda: self._stopped, min(seconds, PAUSE_AT_CLOSE_SECONDS_MAX))
            return not self._stopped

    # ---- What is dropped

    def _drop(self, count, reason):
        with self._changed:
            self._dropped += count
            self._dropped_unreported += count
        self._say(f"{count} events dropped ({self._dropped} in all): {reason}")

    def _report_dropped(self):
        with self._changed:
            count, self._dropped_unreported = self._dropped_unreported, 0
        message = f"{count} log events were dropped before they reached Spillway"
        record = logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "msg": message, "dropped": count})
        self._put(self._event_of(record), severe=True, at_close=True)

    def _say(self, text, force=False):
        """Prints to standard error, once a minute: a logging handler cannot log its own failures."""
        now = time.monotonic()
        if force or self._reported_at is None or now - self._reported_at >= REPORT_INTERVAL_SECONDS:
            self._reported_at = now
            print("spillway:", text[:500], file=sys.stderr)


def _level_of(number):
    for least, name in ((50, "FATAL"), (40, "ERROR"), (30, "WARN"), (20, "INFO"), (10, "DEBUG")):
        if number >= least:
            return name
    return "TRACE"


def _stack_trace_of(record):
    parts = []
    if record.exc_info and record.exc_info[1] is not None:
        parts.append("".join(traceback.format_exception(*record.exc_info)).rstrip())
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _plain(value, depth=0):
    """A value that JSON and Spillway can represent; anything else becomes text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and -2**63 <= value < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth < DEPTH_MAX and isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in itertools.islice(value.items(), ELEMENTS_MAX)}
    if depth < DEPTH_MAX and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in itertools.islice(value, ELEMENTS_MAX)]
    return str(value)


def _encode(value):
    # Half of a surrogate pair, which Spillway refuses, becomes "?".
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _cut(text):
    data = text.encode("utf-8", "replace")
    return text if len(data) <= TEXT_BYTES_MAX else data[:TEXT_BYTES_MAX].decode("utf-8", "ignore")


def _object(answer):
    """The body of an answer; empty if it is not a JSON object."""
    try:
        value = json.loads(answer.read(ANSWER_BYTES_MAX))
        return value if isinstance(value, dict) else {}
    except ValueError:
        return {}


def _is_about(answer, events):
    """Whether an answer accounts for this number of events. Otherwise it proves nothing about any of them."""
    errors = answer.get("errors")
    if not isinstance(errors, list) or not all(isinstance(error, dict) for error in errors):
        return False
    indices = {error.get("index") for error in errors}
    if len(indices) != len(errors) or not indices <= set(range(events)):
        return False
    return answer.get("accepted") == events - len(errors)
