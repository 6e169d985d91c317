"""Starts Spillway on free loopback ports with fresh data.

It is one process, or gateway, producer and consumer with their servers.
"""

import json
import os
import random
import re
import shlex
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from .access import AUTHORITY, CLIENT_NAME, SERVER
from .catalogue import Listener

READY_WITHIN_SECONDS = 60
STOPPED_WITHIN_SECONDS = 40
REQUEST_SECONDS_MAX = 30
# Below the kernel's range for outgoing connections: one of those could take the port of a process that restarts.
PORTS = range(20_000, 32_000)
# The setting of each listener beside HTTP: section and key.
LISTENERS = {Listener.OTLP_GRPC: ("otlp", "grpc_listen"), Listener.SYSLOG: ("syslog", "listen")}
# Listeners with a fixed port by default, which another Spillway on this machine may have.
OTHER_LISTENERS = (("otlp", "listen"),)


# The key with which this harness reads, as a header; empty if none is needed.
READER: dict[str, str] = {}
# Whom it believes over TLS.
TRUST = ssl.create_default_context(cafile=str(AUTHORITY))


class NotReady(Exception):
    """A process or server does not start."""


class Process:
    """One role, which can be killed and started again with the same address and data."""

    def __init__(self, program: Path, role: str, settings: dict[str, str], url: str, directory: Path) -> None:
        self.role = role
        self.url = url
        self.log = directory / f"{role}.log"
        self._command = [str(program), role]
        own = {name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")}
        self._environment = own | {f"SPILLWAY_{name}": value for name, value in settings.items()}
        self._directory = directory
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts it, and waits until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._directory, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while request(f"{self.url}/actuator/health/readiness")[0] != 200:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotReady(f"{self.role} does not become ready: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        """Stops it, and waits until it has ended."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(with_signal)
        try:
            self._process.wait(STOPPED_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Services:
    """Private servers, by scripts/services."""

    def __init__(self, script: Path, directory: Path) -> None:
        self._script = script
        cache = os.environ.get("SERVICES_CACHE") or str(script.parent.parent / "target/services-cache")
        self._environment = {**os.environ, "SERVICES_DIR": str(directory / "services"), "SERVICES_CACHE": cache}

    def start(self) -> dict[str, str]:
        """Starts PostgreSQL, Redis and Kafka; returns the settings that name them."""
        self.run("up", "--own")
        lines = (shlex.split(line) for line in self.run("env").splitlines())
        pairs = (words[1].split("=", 1) for words in lines if len(words) == 2 and words[0] == "export")
        prefix = "SPILLWAY_"
        return {name.removeprefix(prefix): value for name, value in pairs if name.startswith(prefix)}

    def run(self, *arguments: str) -> str:
        """Runs scripts/services."""
        ended = subprocess.run(
            [str(self._script), *arguments], env=self._environment, stdout=subprocess.PIPE, text=True
        )
        if ended.returncode != 0:
            raise NotReady(f"scripts/services {' '.join(arguments)} failed")
        return ended.stdout


class Spillway:
    """A running system."""

    def __init__(
        self, program: Path, directory: Path, services: Services | None, settings: dict[str, str], keys: bool = False
    ) -> None:
        self._program = program
        self._keys_file = directory / "keys.toml"
        self.key = ""
        """The access key of the clients, if keys are required; all listeners then speak TLS."""
        if keys:
            self.key = self._run_key("create", "--name", "clients", "--role", "ingest")
            READER["Authorization"] = f"Bearer {self._run_key('create', '--name', 'reader', '--role', 'read')}"
            settings = {
                **settings,
                "AUTH__KEYS_FILE": str(self._keys_file),
                "HTTP__TLS_CERTIFICATE": str(SERVER),
                "HTTP__TLS_KEY": str(SERVER),
                # Syslog carries no keys.
                "SYSLOG__TLS_CLIENT_AUTH": "required",
                "SYSLOG__TLS_CLIENT_CA": str(AUTHORITY),
                "SYSLOG__TLS_CLIENT_NAMES": CLIENT_NAME,
            }
        self._directory = directory
        self.services = services
        self._settings = settings
        self._ports: set[int] = set()
        self.processes: dict[str, Process] = {}
        self.known = known_settings(program)
        """Which settings the program has, as (section, key)."""
        self.urls: dict[Listener, str] = {}
        """Where clients send to; without the listeners that the program does not have."""

    def __enter__(self) -> "Spillway":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.stop()
        if self.services:
            self.services.run("down")

    def revoke(self) -> None:
        """Revokes the key of the clients, and waits until it is refused."""
        self._run_key("revoke", self.key[4:12])
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        headers = {"Authorization": f"Bearer {self.key}"}
        while (status := request(f"{self.url}/api/logs", headers=headers)[0]) not in (401, 429):
            if time.monotonic() > deadline:
                raise NotReady(f"a revoked key is not refused: {status}")
            time.sleep(0.1)

    def restart(self) -> None:
        """Stops all processes and starts them again: they forget who has failed too often."""
        for process in reversed(self.processes.values()):
            process.stop()
        for process in self.processes.values():
            process.start()

    def _run_key(self, *arguments: str) -> str:
        command = [str(self._program), "key", *arguments, "--keys-file", str(self._keys_file)]
        own = {name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")}
        ended = subprocess.run(command, env=own, cwd=self._keys_file.parent, capture_output=True, text=True)
        if ended.returncode != 0:
            raise NotReady(f"spillway key {arguments[0]}: {ended.stderr}")
        return ended.stdout.strip()

    def undelivered(self) -> int:
        """How many accepted events the producer has in its journal or memory; -1 if it does not answer."""
        try:
            address = f"{self.processes['producer'].url}/actuator/prometheus"
            with urllib.request.urlopen(address, timeout=REQUEST_SECONDS_MAX, context=TRUST) as answer:
                text = answer.read().decode()
        except OSError:
            return -1
        values = re.findall(r"^spillway_events_(?:journaled|buffered)\{[^}]*\} (\S+)$", text, re.MULTILINE)
        return round(sum(map(float, values))) if values else -1

    @property
    def url(self) -> str:
        """The gateway."""
        return self.urls[Listener.HTTP]

    def _start(self) -> None:
        gateway, producer, consumer = (self._free_address() for _ in range(3))
        http, syslog = ("https", "syslogs") if self.key else ("http", "syslog")
        self.urls[Listener.HTTP] = f"{http}://{gateway}"
        listeners = {}
        for listener, (section, key) in LISTENERS.items():
            scheme = syslog if listener is Listener.SYSLOG else http
            key = "tls_listen" if scheme == "syslogs" else key
            if (section, key) in self.known:
                address = self._free_address()
                listeners[f"{section}__{key}".upper()] = address
                self.urls[listener] = f"{scheme}://{address}"
        for section, key in OTHER_LISTENERS:
            if (section, key) in self.known:
                listeners[f"{section}__{key}".upper()] = self._free_address()
        data = {"DATA_DIR": str(self._directory / "data")}
        if self.services is None:
            listen = {"GATEWAY__LISTEN": gateway, "PRODUCER__LISTEN": producer, "CONSUMER__LISTEN": consumer}
            self._launch("all", {**data, **listen, **listeners, **self._settings}, self.url)
            return
        name = f"clients-{os.getpid()}"
        names = {"KAFKA__TOPIC": name, "KAFKA__GROUP": name, "POSTGRES__SCHEMA": name.replace("-", "_")}
        common = {**data, **self.services.start(), **names, **self._settings}
        producer_url, consumer_url = f"{http}://{producer}", f"{http}://{consumer}"
        self._launch("producer", {**common, "PRODUCER__LISTEN": producer, **listeners}, producer_url)
        self._launch("consumer", {**common, "CONSUMER__LISTEN": consumer}, consumer_url)
        upstreams = {"GATEWAY__PRODUCERS": producer_url, "GATEWAY__CONSUMERS": consumer_url}
        if self.key:
            upstreams["GATEWAY__UPSTREAM_CA"] = str(AUTHORITY)
        access = {name: value for name, value in self._settings.items() if name.startswith(("AUTH__", "HTTP__TLS_"))}
        self._launch("gateway", {**data, **upstreams, **access, "GATEWAY__LISTEN": gateway}, self.url)

    def _launch(self, role: str, settings: dict[str, str], url: str) -> None:
        self.processes[role] = Process(self._program, role, settings, url, self._directory)
        self.processes[role].start()

    def _free_address(self) -> str:
        while True:
            port = random.choice(PORTS)
            if port not in self._ports and is_free(port):
                self._ports.add(port)
                return f"127.0.0.1:{port}"


def is_free(port: int) -> bool:
    """Whether nothing uses a port, neither for TCP nor for UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def known_settings(program: Path) -> set[tuple[str, str]]:
    """The settings of a program, as (section, key), from its example file."""
    example = subprocess.run([str(program), "config", "--example"], capture_output=True, text=True, check=True).stdout
    section, known = "", set()
    for line in example.splitlines():
        if header := re.fullmatch(r"#?\[(\w+)\]", line):
            section = header[1]
        elif setting := re.match(r"#?(\w+) = ", line):
            known.add((section, setting[1]))
    return known


def request(url: str, body: object = None, headers: dict[str, str] | None = None) -> tuple[int, object]:
    """Sends a request, with the key of this harness unless other headers are given; returns status and JSON body.

    The status is 0 if there is no answer.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = dict(READER if headers is None else headers)
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        sent = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(sent, timeout=REQUEST_SECONDS_MAX, context=TRUST) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None
    except (OSError, ValueError):
        return 0, None
