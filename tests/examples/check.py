"""Runs the senders in examples/ against a Spillway, and compares what they logged with what is stored.

Called by scripts/examples:

  check.py --bin PROGRAM --work DIRECTORY [NAME…]

Each example runs twice, with a source of its own: once undisturbed, and once with Spillway killed before the burst and
started again after 3 s. Prints one line per example. Exit status 1 if an event was lost, repeated or changed.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
OUTAGE_SECONDS = 3
START_SECONDS_MAX = 30
BUILD_SECONDS_MAX = 600
RUN_SECONDS_MAX = 90
STORE_SECONDS_MAX = 30
BURST_EVENTS = 500
EVENTS_BEFORE_THE_BURST = 4
PAGE_EVENTS = 1000
UNICODE = "Zażółć gęślą jaźń 東京 🚀 tab\t newline\n escape \x1b[31m bell \x07 end"
GO = "/usr/local/go/bin"


class Broken(Exception):
    """Something that the examples promise does not hold."""


class Skipped(Exception):
    """A program that the example needs is missing."""


class Spillway:
    """`spillway all` with fresh data. It keeps its address when it is started again."""

    def __init__(self, program, work):
        self.program = program
        self.directory = work / "spillway"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.url = f"http://{self.address}"
        self.process = None

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")}
        environment.update(
            SPILLWAY_DATA_DIR=str(self.directory / "data"), SPILLWAY_GATEWAY__LISTEN=self.address,
            SPILLWAY_PRODUCER__LISTEN="127.0.0.1:0", SPILLWAY_CONSUMER__LISTEN="127.0.0.1:0",
        )
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "all"], cwd=self.directory, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self.is_ready, START_SECONDS_MAX, "Spillway does not become ready")

    def is_ready(self):
        if self.process.poll() is not None:
            raise Broken(f"Spillway ended with {self.process.returncode}: {tail(self.directory / 'log')}")
        try:
            return self.get("/actuator/health/readiness") is not None
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it as an operator does. 0 is expected."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(START_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return "no end"

    def get(self, path, **parameters):
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}{path}{query}", timeout=10) as answer:
            return json.load(answer)

    def events(self, source):
        """All stored events of a source."""
        page = self.get("/api/logs", source=source, limit=PAGE_EVENTS)
        events = page["events"]
        while page["nextCursor"]:
            page = self.get("/api/logs", source=source, limit=PAGE_EVENTS, cursor=page["nextCursor"])
            events += page["events"]
        return events


class Example:
    """One sender: how it is built, and the command that runs its program."""

    def __init__(self, name, folder, tools, build, command, nested=True, unsent=False):
        self.name = name
        self.folder = folder
        self.tools = tools
        self.build = build
        self.command = command
        # Whether a field may be an object.
        self.nested = nested
        # Whether it keeps what Spillway did not take in a file, for `spillway send`.
        self.unsent = unsent

    def prepare(self, work):
        """Builds a copy, so that the work tree stays clean. Build tools find their earlier results in it."""
        missing = [tool for tool in self.tools if shutil.which(tool) is None]
        if missing:
            raise Skipped(f"{', '.join(missing)} is missing")
        directory = work / self.name
        ignored = shutil.ignore_patterns("node_modules", "target", "__pycache__")
        shutil.copytree(EXAMPLES / self.folder, directory, ignore=ignored, dirs_exist_ok=True)
        for command in self.build:
            built = subprocess.run(
                command, cwd=directory, capture_output=True, text=True, errors="replace",
                timeout=BUILD_SECONDS_MAX, check=False)
            if built.returncode != 0:
                raise Broken(f"{' '.join(command)} failed: {' '.join((built.stdout + built.stderr).split())[-500:]}")
        return directory

    def run(self, directory, spillway, source, outage):
        """Runs it once. Returns what it logged, and how many of these events went through a file."""
        for path in directory.glob("unsent*"):
            path.unlink()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPILLWAY_", "DEMO_"))}
        environment.update(LOGS_URL=spillway.url, LOGS_SOURCE=source, no_proxy="127.0.0.1", NO_PROXY="127.0.0.1",
                           PYTHONDONTWRITEBYTECODE="1", LANG="C.UTF-8")
        if outage:
            environment["DEMO_WAIT"] = "1"
        with open(directory / "stderr", "wb") as errors:
            process = subprocess.Popen(self.command, cwd=directory, env=environment, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=errors)
        try:
            if outage:
                self.interrupt(process, spillway, source)
            output = process.communicate(timeout=RUN_SECONDS_MAX)[0].decode()
        except subprocess.TimeoutExpired:
            raise Broken(f"does not end within {RUN_SECONDS_MAX} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        logged = re.search(r"logged=(\d+)", output)
        if process.returncode != 0 or not logged:
            raise Broken(f"exit status {process.returncode}: {output[-200:]} {tail(directory / 'stderr')}")
        return int(logged[1]), self.send_unsent(directory, spillway)

    def interrupt(self, process, spillway, source):
        """Kills Spillway once the first events are stored; the burst follows; starts Spillway again."""
        printed = select.select([process.stdout], [], [], RUN_SECONDS_MAX)[0]
        if not printed or process.stdout.readline().strip() != b"waiting":
            raise Broken("does not wait before the burst")
        until(lambda: len(spillway.events(source)) >= EVENTS_BEFORE_THE_BURST, STORE_SECONDS_MAX,
              "the events before the burst are not stored")
        spillway.kill()
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(OUTAGE_SECONDS)
        spillway.start()

    def send_unsent(self, directory, spillway):
        if not self.unsent:
            return 0
        files = sorted(directory.glob("unsent*"))
        lines = sum(len(path.read_bytes().splitlines()) for path in files)
        if lines:
            sent = subprocess.run([spillway.program, "send", "--to", spillway.url, *map(str, files)],
                                  capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False)
            if sent.returncode != 0:
                raise Broken(f"spillway send failed: {sent.stderr[-300:]}")
        return lines


def examples():
    maven = [["mvn", "-q", "-B", "compile", "dependency:copy-dependencies"]]
    java = ["java", "-cp", os.pathsep.join(["target/classes", "target/dependency/*"]), "example.Demo"]
    npm = [["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]]
    return [
        Example("python", "python", ["python3"], [], ["python3", "demo.py"]),
        Example("node", "node", ["node"], [], ["node", "demo.mjs"]),
        Example("pino", "node", ["node", "npm"], npm, ["node", "demo-pino.mjs"]),
        Example("go", "go", ["go"], [["go", "vet", "./..."], ["go", "build", "-o", "demo", "."]], ["./demo"]),
        Example("logback", "java/logback", ["java", "mvn"], maven, java),
        Example("log4j2", "java/log4j2", ["java", "mvn"], maven, java, nested=False, unsent=True),
    ]


def check(example, events, logged, began, ended):
    """Raises Broken if the stored events are not those that the program logged."""
    def require(holds, what):
        if not holds:
            raise Broken(what)

    require(logged == EVENTS_BEFORE_THE_BURST + BURST_EVENTS, f"logged {logged} events")
    require(len({event["eventId"] for event in events}) == len(events), "an eventId is stored twice")
    require(len(events) == logged, f"{logged} sent, {len(events)} stored")
    levels = collections.Counter(event["level"] for event in events)
    require(levels == {"INFO": BURST_EVENTS + 2, "WARN": 1, "ERROR": 1}, f"levels: {dict(levels)}")
    minute = datetime.timedelta(minutes=1)
    for event in events:
        stamp = datetime.datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
        require(began - minute <= stamp <= ended + minute, f"timestamp {event['timestamp']}")
        require(event["metadata"].get("logger") == "shop.checkout", f"no logger in the metadata: {event}")

    by_message = {event["message"]: event for event in events}
    for message in ("order accepted", "stock is low: 2 left", "order not paid", UNICODE):
        require(message in by_message, f"no event {message!r}")
    accepted = by_message["order accepted"]["metadata"]
    require(accepted.get("orderId") == "A-1042" and str(accepted.get("items")) == "3", f"metadata: {accepted}")
    require(not example.nested or accepted.get("customer") == {"country": "PL"}, f"metadata: {accepted}")
    trace = by_message["order not paid"].get("stackTrace", "")
    # An error of Go has no stack: the trace is that of the logger's caller.
    function = "main.run" if example.folder == "go" else "charge"
    for part in ("payment failed", "card service refused the connection", function):
        require(part in trace, f"no {part!r} in the stack trace: {trace[:300]!r}")
    numbers = sorted(int(event["metadata"]["number"]) for event in events if "number" in event["metadata"])
    require(numbers == list(range(BURST_EVENTS)), "the burst is not complete")


def run_both(example, spillway, work, counts):
    """The line of an example that kept its promises. `counts` gets the number of events of each source."""
    directory = example.prepare(work)
    parts = []
    for outage in (False, True):
        source = f"{example.name}-{'outage' if outage else 'plain'}"
        began = datetime.datetime.now(datetime.timezone.utc)
        logged, through_file = example.run(directory, spillway, source, outage)
        ended = datetime.datetime.now(datetime.timezone.utc)
        try:
            until(lambda: len(spillway.events(source)) >= logged, STORE_SECONDS_MAX, "")
        except Broken:
            pass  # `check` says what is missing.
        events = spillway.events(source)
        check(example, events, logged, began, ended)
        counts[source] = logged
        part = f"{logged} sent, {len(events)} stored"
        parts.append(f"{part} ({through_file} through the file)" if through_file else part)
    return f"{parts[0]}; with Spillway away for {OUTAGE_SECONDS} s: {parts[1]}"


def until(condition, seconds_max, otherwise):
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(otherwise)
        time.sleep(0.1)


def tail(path):
    return " ".join(path.read_text(errors="replace").split())[-500:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--work", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    known = [example.name for example in examples()]
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"no example {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    if shutil.which("go") is None:
        os.environ["PATH"] += os.pathsep + GO

    broken, skipped, counts = [], [], {}
    spillway = Spillway(arguments.bin, arguments.work)
    try:
        spillway.start()
        for example in examples():
            if arguments.names and example.name not in arguments.names:
                continue
            try:
                print(f"ok       {example.name}: {run_both(example, spillway, arguments.work, counts)}", flush=True)
            except Skipped as reason:
                skipped.append(example.name)
                print(f"skipped  {example.name}: {reason}", flush=True)
            except (Broken, OSError, subprocess.SubprocessError) as reason:
                broken.append(example.name)
                print(f"BROKEN   {example.name}: {reason}", flush=True)
                if spillway.process.poll() is not None:
                    spillway.start()
        # A repeat that arrived late would be here now.
        for source, logged in counts.items():
            stored = len(spillway.events(source))
            if stored != logged:
                broken.append(source)
                print(f"BROKEN   {source}: {logged} sent, {stored} stored at the end", flush=True)
    finally:
        status = spillway.stop()
    if status != 0:
        broken.append("spillway")
        print(f"BROKEN   spillway: ended with {status}")
    if skipped and os.environ.get("CI") == "true":
        broken += skipped
    print(f"BROKEN: {', '.join(broken)}" if broken else "ok")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
