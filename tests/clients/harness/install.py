"""Installs the clients, with pinned versions, into one directory, and says which version is there.

Each part ends with a copy of its pins, and is skipped while that copy is up to date. What cannot be installed is named
with the reason; its clients are skipped.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
INSTALLED_WITHIN_SECONDS = 1200
SYNTAX = re.compile(r"[-_.]+")


class Missing(Exception):
    """Something is missing on this machine."""


class Installation:
    """The installed clients below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.missing: dict[str, str] = {}
        """The ecosystems that could not be installed, and why."""

    def install(self, ecosystems: set[str]) -> None:
        """Installs what these ecosystems need."""
        parts = {"python": self._python, "node": self._node, "go": self._go, "java": self._java, "deb": self._deb}
        for ecosystem in sorted(ecosystems):
            (self.directory / ecosystem).mkdir(parents=True, exist_ok=True)
            try:
                parts[ecosystem]()
            except (Missing, subprocess.SubprocessError, OSError) as error:
                output = getattr(error, "stderr", None) or ""
                self.missing[ecosystem] = f"{error} {output[-300:]}".strip()
                print(f"clients: cannot install {ecosystem}: {self.missing[ecosystem]}", file=sys.stderr)

    def command(self, ecosystem: str) -> list[str]:
        """The runner of an ecosystem."""
        directory = self.directory / ecosystem
        return {
            "python": [str(directory / "bin/python"), str(SOURCES / "python/run.py")],
            "node": ["node", str(directory / "run.mjs")],
            "go": [str(directory / "clients")],
            # Starts fast, with little memory.
            "java": ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
            + ["-cp", f"{directory}/classes:{directory}/lib/*", "Clients"],
            "deb": [sys.executable, str(SOURCES / "deb/run.py")],
        }[ecosystem]

    def environment(self) -> dict[str, str]:
        """Variables of every runner. In UTC, since times of RFC 3164 have no zone."""
        root = str(self.directory / "deb/root")
        return {"TZ": "UTC", "DEB_ROOT": root, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}

    def version(self, ecosystem: str, package: str) -> str:
        """The installed version of a package; of the language for a standard library."""
        directory = self.directory / ecosystem
        if not package:
            command = {"python": [str(directory / "bin/python"), "--version"], "go": ["go", "version"]}[ecosystem]
            return re.search(r"\d+\.\d+(\.\d+)?", _run(command).stdout)[0]
        names = {
            "python": lambda: _after(directory.glob("lib/*/site-packages/*.dist-info"), SYNTAX.sub("_", package), "-"),
            "node": lambda: _first(r'"version":\s*"([^"]+)"', directory / f"node_modules/{package}/package.json"),
            "go": lambda: _first(rf"{re.escape(package)} v(\S+)", SOURCES / "go/go.mod"),
            "java": lambda: _after(directory.glob("lib/*.jar"), package, "-"),
            "deb": lambda: _after(directory.glob("packages/*.deb"), package, "_"),
        }
        return names[ecosystem]() or "?"

    def _python(self) -> None:
        pins, directory = SOURCES / "python/requirements.txt", self.directory / "python"
        if _changed([pins], directory):
            _run([sys.executable, "-m", "venv", "--clear", str(directory)])
            pip = [str(directory / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--requirement", str(pins)])
            _keep([pins], directory)

    def _node(self) -> None:
        pins, directory = SOURCES / "node/package.json", self.directory / "node"
        _need("node", "npm")
        if _changed([pins], directory):
            shutil.rmtree(directory / "node_modules", ignore_errors=True)
            shutil.copy(pins, directory)
            npm = [
                "npm",
                "install",
                "--no-package-lock",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--loglevel=error",
            ]
            _run(npm, cwd=directory)
            _keep([pins], directory)
        # Node.js looks for packages beside the modules that import them.
        for module in (SOURCES / "node").glob("*.mjs"):
            shutil.copy(module, directory)

    def _go(self) -> None:
        files, directory = sorted((SOURCES / "go").glob("*")), self.directory / "go"
        _need("go")
        if _changed(files, directory):
            _run(["go", "build", "-o", str(directory / "clients"), "."], cwd=SOURCES / "go")
            _keep(files, directory)

    def _java(self) -> None:
        pom, directory = SOURCES / "java/pom.xml", self.directory / "java"
        _need("mvn", "javac", "java")
        if _changed([pom], directory):
            shutil.rmtree(directory / "lib", ignore_errors=True)
            shutil.copy(pom, directory)
            goal = "dependency:copy-dependencies"
            _run(["mvn", "--quiet", "--batch-mode", goal, f"-DoutputDirectory={directory}/lib"], cwd=directory)
            _keep([pom], directory)
        sources = sorted((SOURCES / "java").glob("*.java"))
        if _changed(sources, directory / "classes"):
            classes = str(directory / "classes")
            _run(["javac", "-cp", f"{directory}/lib/*", "-d", classes, *map(str, sources)])
            _keep(sources, directory / "classes")

    def _deb(self) -> None:
        script, directory = SOURCES / "deb/install", self.directory / "deb"
        _need("apt-get", "dpkg-deb")
        if _changed([script], directory):
            _run([str(script), str(directory)])
            _keep([script], directory)


def _need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"{program} is missing")


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess:
    # An error shows what the command printed.
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    return subprocess.run(
        command, cwd=cwd, env=environment, check=True, capture_output=True, text=True, timeout=INSTALLED_WITHIN_SECONDS
    )


def _content(files: list[Path]) -> str:
    return "".join(f"{file.name}\n{file.read_text()}\n" for file in files)


def _changed(files: list[Path], directory: Path) -> bool:
    kept = directory / "pins"
    return not kept.exists() or kept.read_text() != _content(files)


def _keep(files: list[Path], directory: Path) -> None:
    (directory / "pins").write_text(_content(files))


def _after(paths: object, package: str, separator: str) -> str | None:
    """The version in a file name such as PACKAGE-1.2.3.jar."""
    for path in paths:
        name, found, rest = path.name.partition(package + separator)
        if found and not name and rest[:1].isdigit():
            return re.split(r"_(?:amd64|arm64|all)\b|\.jar|\.dist-info", rest)[0]
    return None


def _first(pattern: str, file: Path) -> str | None:
    found = re.search(pattern, file.read_text())
    return found[1] if found else None
