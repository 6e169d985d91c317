"""A client of scripts/compose-test, in a separate container. It needs only Python's standard library.

  client.py load   sends numbered events in batches until SIGTERM. Each batch is sent until it is answered with 202, as the table
                   "What a client should do" of README.md says, with the same ids. Prints the answers.
  client.py limit  sends single events faster than allowed, for a time. Prints how many were accepted.
"""

import argparse
import collections
import http.client
import json
import signal
import socket
import threading
import time
import urllib.parse

# Longer than the gateway waits for a producer.
ANSWER_TIMEOUT_SECONDS = 40
# The test never stops a service for this long.
BATCH_SECONDS_MAX = 180


class Connection:
    """Posts over one connection, and reconnects when it breaks."""

    def __init__(self, to):
        self.to = urllib.parse.urlsplit(to)
        self.open = None

    def post(self, path, value):
        """Status (None without an answer), headers and body."""
        try:
            if self.open is None:
                self.open = http.client.HTTPConnection(self.to.hostname, self.to.port, timeout=ANSWER_TIMEOUT_SECONDS)
                self.open.connect()
                self.open.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})
            answer = self.open.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            if self.open is not None:
                self.open.close()
            self.open = None
            return None, {}, b""


def event_id(client, number):
    """An id unique to client and number, in the form of a UUIDv7."""
    return f"{client:08x}-0000-7000-8000-{number:012x}"


def load(options):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    connection, counts = Connection(options.to), collections.Counter()
    number, due = 0, time.monotonic()
    while not stop.is_set():
        events = []
        for number in range(number, number + options.batch):
            level = options.levels[number % len(options.levels)]
            events.append(
                {
                    "eventId": event_id(options.client, number),
                    "source": f"{options.source}-{options.client}-{number % 7}",
                    "level": level,
                    "message": f"event {number} of client {options.client}",
                }
            )
        number += 1
        deliver(connection, events, counts)
        due = max(due + 1 / options.per_second, time.monotonic() - 1)
        stop.wait(max(0, due - time.monotonic()))
    print(json.dumps(counts, sort_keys=True))


def deliver(connection, events, counts):
    """Sends events until each is accepted or permanently refused."""
    deadline = time.monotonic() + BATCH_SECONDS_MAX
    while events:
        if time.monotonic() > deadline:
            raise SystemExit(f"no 202 for a batch in {BATCH_SECONDS_MAX} s: {dict(counts)}")
        status, headers, body = connection.post("/api/logs/batch", events)
        counts[f"answers_{status or 'none'}"] += 1
        if status == 202:
            answer = json.loads(body)
            counts["accepted"] += answer["accepted"]
            for kind, of_it in answer["durability"].items():
                counts[kind] += of_it
            again = [error["index"] for error in answer["errors"] if error["retryable"]]
            counts["refused"] += answer["failed"] - len(again)
            events = [events[index] for index in again]
            if events:
                time.sleep(0.5)
        elif status in (429, 503):
            time.sleep(float(headers.get("Retry-After", 1)))
        elif status in (None, 408, 502, 504):
            time.sleep(0.1)
        else:
            raise SystemExit(f"{status}: {body!r}")


def limit(options):
    counts, lock = collections.Counter(), threading.Lock()
    begin = time.monotonic()

    def send(thread):
        connection, event = Connection(options.to), {"source": options.source, "level": "INFO", "message": "one of many"}
        due = begin + thread / options.per_second
        while due < begin + options.seconds:
            time.sleep(max(0, due - time.monotonic()))
            if time.monotonic() > begin + options.seconds:
                break
            status, _, _ = connection.post("/api/logs", event)
            with lock:
                counts[str(status)] += 1
            due += options.threads / options.per_second

    threads = [threading.Thread(target=send, args=(thread,)) for thread in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    address = socket.gethostbyname(socket.gethostname())
    other = sum(counts.values()) - counts["202"] - counts["429"]
    print(json.dumps({"address": address, "accepted": counts["202"], "limited": counts["429"], "other": other}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["load", "limit"])
    parser.add_argument("--to", required=True, help="base URL")
    parser.add_argument("--source", required=True)
    parser.add_argument("--client", type=int, default=0, help="number of this client, part of its events' ids")
    parser.add_argument("--levels", type=lambda text: text.split(","), default=["INFO", "ERROR"])
    parser.add_argument("--batch", type=int, default=100, help="events in a batch")
    parser.add_argument("--per-second", type=float, default=5, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    {"load": load, "limit": limit}[options.what](options)


if __name__ == "__main__":
    main()
