"""What one client is to send, and how a runner reports.

Every runner, whatever its language, is called as `RUNNER CLIENT URL RUN COUNT` and follows the same rules:

* It sends COUNT events: a third INFO, a third WARN, a third ERROR, in this order, numbered from 0.
* The text of an event is `clients RUN CLIENT NUMBER`, without its level, so that none can be found there. The source is
  `clients-CLIENT`. The field `order` has the number. If the client has trace ids, they are TRACE_ID and SPAN_ID; if it
  has exceptions, the last event has one.
* EVENT_TIME_MS is the time of event 0, in milliseconds since 1970; each further event is one millisecond later. A
  client that takes no time from its caller uses its own clock.
* It waits EVENT_PAUSE_MS between two events.
* If CLIENT_KEY is set, it presents that access key in the way that is usual for the client. OTLP clients of Python,
  Node.js and Go take it from OTEL_EXPORTER_OTLP_HEADERS by themselves.
* To a URL with https or syslogs, it speaks TLS and verifies the server. It trusts the authorities that the variables of
  its language name (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, NODE_EXTRA_CA_CERTS, OTEL_EXPORTER_OTLP_CERTIFICATE,
  JDK_JAVA_OPTIONS). A client that ignores them trusts the file CLIENT_CA, if it is set. Over syslog, it shows the
  certificate in the file CLIENT_CERTIFICATE, which has its key, too; CLIENT_KEY_STORE is the same for Java.
* It prints `{"ready":true}` before the first event. If AWAIT_START is set, it then waits for a line on its standard input.
* At the end it prints one line of JSON: `delivered`, the number of events that the client reports as delivered, or null
  if it reports nothing; and `errors`, the first three messages.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

LEVELS = ("INFO", "WARN", "ERROR")
TRACE_ID = "5f2b1c7d9e3a48606b1d0c4e8f7a9235"
SPAN_ID = "9c41d07be2a35f68"
ERRORS_MAX = 3


@dataclass(frozen=True)
class Event:
    """One event to send."""

    number: int
    level: str
    text: str
    seconds: float
    """Its time, in seconds since 1970."""
    last: bool

    @property
    def rfc3339(self) -> str:
        """Its time, in UTC, with milliseconds."""
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.seconds)) + f".{int(self.seconds * 1000) % 1000:03}Z"


@dataclass
class Plan:
    """The arguments of a runner."""

    client: str
    url: str
    run: str
    count: int
    errors: list[str] = field(default_factory=list)

    @classmethod
    def of_arguments(cls) -> "Plan":
        """Reads the command line."""
        client, url, run, count = sys.argv[1:5]
        return cls(client, url.rstrip("/"), run, int(count))

    @property
    def source(self) -> str:
        """The source of the events."""
        return f"clients-{self.client}"

    @property
    def key(self) -> str | None:
        """The access key to present, if any."""
        return os.environ.get("CLIENT_KEY") or None

    @property
    def login(self) -> tuple[str, str] | None:
        """The same as a user and a password."""
        return ("clients", self.key) if self.key else None

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.address.scheme in ("https", "syslogs")

    @property
    def by_http(self) -> bool:
        """Whether it speaks HTTP, and not syslog."""
        return self.address.scheme.startswith("http")

    @property
    def authority(self) -> str | None:
        """The file of the authority to trust, if any beside those of the system."""
        return os.environ.get("CLIENT_CA") or None

    @property
    def certificate(self) -> str | None:
        """The file of the certificate to show over syslog, with its key, if any."""
        return os.environ.get("CLIENT_CERTIFICATE") or None

    @property
    def address(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)

    def events(self) -> Iterator[Event]:
        """The events, with pauses; reports that sending begins."""
        began_ms = int(os.environ.get("EVENT_TIME_MS") or time.time() * 1000)
        pause = int(os.environ.get("EVENT_PAUSE_MS") or 0) / 1000
        print('{"ready":true}', flush=True)
        if os.environ.get("AWAIT_START"):
            sys.stdin.readline()
        for number in range(self.count):
            if number and pause:
                time.sleep(pause)
            level = LEVELS[number * len(LEVELS) // self.count]
            text = f"clients {self.run} {self.client} {number}"
            # With more digits than milliseconds, as a clock has them.
            seconds = (began_ms + number) / 1000 + 0.000_457
            yield Event(number, level, text, seconds, number == self.count - 1)

    def failed(self, error: object) -> None:
        """Keeps an error for the report."""
        self.errors.append(str(error)[:200])

    def report(self, delivered: int | None) -> None:
        """Prints the result."""
        print(json.dumps({"delivered": delivered, "errors": self.errors[:ERRORS_MAX]}), flush=True)
