"""Runs one log daemon from a Debian package: `run.py CLIENT URL RUN COUNT`.

The rules of all runners are in ../python/plan.py. The daemon is an ordinary process with a socket of its own, like
/dev/log, to which the events are written in the form that syslog(3) writes. The packages are unpacked in DEB_ROOT (see
`install`).
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
from plan import Event, Plan

STARTED_WITHIN_SECONDS = 10
SENT_WITHIN_SECONDS = 25
# local0.info, local0.warning, local0.err
PRIORITIES = {"INFO": 134, "WARN": 132, "ERROR": 131}
# What syslog-ng prints when nothing is wrong.
ORDINARY = re.compile(r"syslog-ng (starting up|shutting down)|Syslog connection established")
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib/syslog-ng")

RSYSLOG = """
global(workDirectory="{directory}" maxMessageSize="64k")
module(load="imuxsock" SysSock.Use="off")
module(load="impstats" interval="1" format="json" resetCounters="off" log.syslog="off" log.file="{directory}/stats")
input(type="imuxsock" Socket="{directory}/log" useSysTimeStamp="off" ignoreTimestamp="off")
{action}
"""
RSYSLOG_FORWARD = 'action(name="out" type="omfwd" target="{host}" port="{port}" {options} {access})'
# A template of the Elastic Common Schema, and requests that end with the messages that there are.
RSYSLOG_ELASTICSEARCH = """
module(load="omelasticsearch")
template(name="ecs" type="list") {{
  constant(value="{{")
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf") constant(value=",")
  property(outname="log.level" name="syslogseverity-text" format="jsonf") constant(value=",")
  property(outname="service.name" name="programname" format="jsonf") constant(value=",")
  property(outname="host.name" name="hostname" format="jsonf") constant(value=",")
  property(outname="message" name="msg" position.from="2" format="jsonf")
  constant(value="}}")
}}
action(name="out" type="omelasticsearch" server="{host}" serverport="{port}" template="ecs" searchIndex="logs-clients"
       searchType="" bulkmode="on" errorfile="{directory}/errors" healthchecktimeout="5000" {access}
       queue.type="linkedlist"
       queue.timeoutshutdown="8000" action.resumeRetryCount="10" action.resumeInterval="1")
"""
RSYSLOG_ACTIONS = {
    "rsyslog-tcp": RSYSLOG_FORWARD.replace("{options}", 'protocol="tcp"'),
    "rsyslog-tcp-octets": RSYSLOG_FORWARD.replace(
        "{options}", 'protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"'
    ),
    "rsyslog-udp": RSYSLOG_FORWARD.replace("{options}", 'protocol="udp"'),
    "rsyslog-elasticsearch": RSYSLOG_ELASTICSEARCH,
}

SYSLOG_NG = """@version: 3.38
@define scl-root "{library}"
@include "{library}/elasticsearch/*.conf"
options {{ stats-freq(0); stats-level(1); time-reopen(1); keep-timestamp(yes); }};
source events {{ unix-dgram("{directory}/log"); }};
destination out {{ {destination}; }};
log {{ source(events); destination(out); }};
"""
SYSLOG_NG_DESTINATIONS = {
    "syslog-ng-tcp": 'network("{host}" port({port}) transport({transport}) {access})',
    "syslog-ng-tcp-octets": 'syslog("{host}" port({port}) transport({transport}) {access})',
    "syslog-ng-elasticsearch": 'elasticsearch-http(url("{url}/_bulk") index("logs-clients") type("") batch-lines(5)'
    " batch-timeout(500) retries(10) {access})",
    "syslog-ng-http": 'http(url("{url}/api/logs/ingest") method("POST") headers("Content-Type: application/json")'
    ' delimiter(",") body-prefix("[") body-suffix("]") batch-lines(5) batch-timeout(500) retries(10)'
    ' {access} body("$(format-json message=$MSG level=$LEVEL timestamp=$ISODATE service=$PROGRAM host=$HOST)"))',
}


def rsyslog_access(plan: Plan) -> str:
    """The parameters of an action for TLS, and for the access key or the certificate."""
    if not plan.secure:
        return ""
    if plan.by_http:
        given = {"usehttps": "on", "tls.cacert": plan.authority, "uid": "clients", "pwd": plan.key}
    else:
        given = {
            "StreamDriver": "gtls",
            "StreamDriverMode": "1",
            "StreamDriverAuthMode": "x509/name",
            # It looks for a name, even if the target is an address.
            "StreamDriverPermittedPeers": "localhost",
            "StreamDriver.CAFile": plan.authority,
            "StreamDriver.CertFile": plan.certificate,
            "StreamDriver.KeyFile": plan.certificate,
        }
    return " ".join(f'{name}="{value}"' for name, value in given.items() if value)


def syslog_ng_access(plan: Plan) -> str:
    """The same for a destination of syslog-ng."""
    if not plan.secure:
        return ""
    given = {"ca-file": plan.authority}
    if not plan.by_http:
        given |= {"cert-file": plan.certificate, "key-file": plan.certificate}
    options = " ".join(f'{name}("{value}")' for name, value in given.items() if value)
    login = f'user("clients") password("{plan.key}")' if plan.by_http else ""
    return f"{login} tls({options})" if options else login


class Daemon:
    """A running daemon, and the files in its directory."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        root = Path(os.environ["DEB_ROOT"])
        address = plan.address
        values = {"directory": directory, "host": address.hostname, "port": address.port, "url": plan.url}
        values["transport"] = "tls" if plan.secure else "tcp"
        configuration = directory / "configuration"
        self.directory = directory
        self.is_rsyslog = plan.client in RSYSLOG_ACTIONS
        if self.is_rsyslog:
            action = RSYSLOG_ACTIONS[plan.client].format(**values, access=rsyslog_access(plan))
            configuration.write_text(RSYSLOG.format(action=action, **values))
            modules = next(root.glob("usr/lib/*/rsyslog"))
            command = [root / "usr/sbin/rsyslogd", "-n", "-f", configuration, "-i", directory / "pid", "-M", modules]
        else:
            destination = SYSLOG_NG_DESTINATIONS[plan.client].format(**values, access=syslog_ng_access(plan))
            library = root / "usr/share/syslog-ng/include/scl"
            configuration.write_text(SYSLOG_NG.format(library=library, destination=destination, **values))
            modules = max(root.glob("usr/lib/syslog-ng/[0-9]*"))
            command = [root / "usr/sbin/syslog-ng", "-F", "-e", "-f", configuration, "-R", directory / "state"]
            command += ["--no-caps", "-c", directory / "control", "-p", directory / "pid", "--module-path", modules]
        self.environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(str(root / path) for path in LIBRARIES)}
        self.control = [root / "usr/sbin/syslog-ng-ctl", "stats", "-c", directory / "control"]
        with (directory / "output").open("wb") as output:
            self.process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=subprocess.STDOUT)
        until(lambda: (directory / "log").exists() or self.process.poll() is not None, STARTED_WITHIN_SECONDS)

    def done(self) -> tuple[int, int | None]:
        """How many events the daemon is done with, and how many of them failed, by its own statistics.

        The second is `None` if they do not say it.
        """
        if self.is_rsyslog:
            lines = (self.directory / "stats").read_text().splitlines() if (self.directory / "stats").exists() else []
            # rsyslog begins each line with the time.
            values = [json.loads(line[line.index("{") :]) for line in lines if "{" in line and line.endswith("}")]
            latest = {value["name"]: value for value in values}
            if "out" not in latest:
                return 0, 0
            processed, waiting = latest["out"]["processed"], latest.get("out queue", {}).get("size", 0)
            # Events that wait for another try are processed, of refused requests only their own number is known, and
            # `failed` lacks one of the events that were given up.
            refused = latest.get("omelasticsearch", {}).get("failed.es", 0)
            return processed - waiting, None if waiting or refused or latest["out"]["failed"] else 0
        text = subprocess.run(self.control, env=self.environment, capture_output=True, text=True).stdout
        written = re.search(r"^dst\..*;written;(\d+)$", text, re.MULTILINE)
        dropped = re.search(r"^dst\..*;dropped;(\d+)$", text, re.MULTILINE)
        failed = int(dropped[1]) if dropped else 0
        return (int(written[1]) if written else 0) + failed, failed

    def stop(self) -> str:
        """Stops the daemon; returns what it printed."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        files = [self.directory / name for name in ("output", "errors")]
        lines = [line for file in files if file.exists() for line in file.read_text(errors="replace").splitlines()]
        return " ".join(line for line in lines if not ORDINARY.search(line)).strip()


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def message(plan: Plan, event: Event) -> bytes:
    """An event as syslog(3) writes it to /dev/log; its time has no zone and no year."""
    when = time.strftime("%b %e %H:%M:%S", time.localtime(event.seconds))
    return f"<{PRIORITIES[event.level]}>{when} {plan.source}: {event.text}".encode()


def main() -> None:
    plan = Plan.of_arguments()
    if plan.client not in RSYSLOG_ACTIONS and plan.client not in SYSLOG_NG_DESTINATIONS:
        sys.exit(f"unknown client {plan.client}")
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(plan, Path(directory))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                log.connect(f"{directory}/log")
                for event in plan.events():
                    log.send(message(plan, event))
            until(lambda: daemon.done()[0] >= plan.count, SENT_WITHIN_SECONDS)
            processed, failed = daemon.done()
        finally:
            output = daemon.stop()
        if output:
            plan.failed(output)
        plan.report(processed - failed if plan.by_http and failed is not None else None)


if __name__ == "__main__":
    main()
