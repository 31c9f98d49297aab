"""NVIDIA's own user-space libraries, from the non-free component of Debian's archive: unpacked, never installed.

`python tests/driver/libraries.py` fetches them all, as `.ci/run` does. The archive is the one that this machine's own
sources of packages name, with their options and keys; apt is told of it privately.
"""

import contextlib
import fcntl
import os
import re
import subprocess
import sys
import tempfile
from email.parser import HeaderParser
from pathlib import Path

SERIES = ("535", "550", "555")  # beginnings of versions: what comes after them moves
PACKAGES = ("libcuda1", "libnvidia-ml1", "nvidia-smi")
SUITES = "bookworm trixie experimental"
COMPONENT = "non-free"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openshell-kernel-tests"
SECONDS = 120

_ONE_LINE = re.compile(r"^deb\s+(\[.*?\]\s+)?(\S+)\s+[^/\s]+\s+(?:.*\s)?main\b", re.MULTILINE)


class UnavailableError(Exception):
    """The libraries of a series cannot be had here; the message says why."""


def fetched(series):
    """Return the folder into which the packages of a series are unpacked; they are downloaded once for each user."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / series
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as private:
                _fetch(series, Path(private)).rename(folder)
    return folder


def sources(one_line, deb822):
    """Return these sources of packages in both of apt's formats, leading to the suites and the component wanted here.

    Every source of Debian's kind of archive counts. One that has not got these suites is passed over by apt.
    """
    lines = [
        f"deb {options}{uri} {suite} {COMPONENT}\n"
        for options, uri in _ONE_LINE.findall(one_line)
        for suite in SUITES.split()
    ]
    uncommented = re.sub(r"^#.*\n", "", deb822, flags=re.MULTILINE)
    stanzas = [HeaderParser().parsestr(text.lstrip()) for text in re.split(r"\n\s*\n", uncommented)]
    return "".join(lines), "\n".join(_led_there(stanza) for stanza in stanzas if _is_archive(stanza))


def _is_archive(stanza):
    on = stanza.get("Enabled", "yes").lower() != "no"
    return on and "deb" in stanza.get("Types", "").split() and "main" in stanza.get("Components", "").split()


def _led_there(stanza):
    changed = {"types": "deb", "suites": SUITES, "components": COMPONENT}
    return "".join(f"{name}: {changed.get(name.lower(), value)}\n" for name, value in stanza.items())


def _fetch(series, private):
    """Download and unpack in a private folder; return the folder that holds the packages' files."""
    etc = Path("/etc/apt")
    parts = private / "sources.list.d"
    for folder in (parts, private / "packages", private / "state", private / "cache"):
        folder.mkdir()
    one_line = "\n".join(map(_text, (etc / "sources.list", *etc.glob("sources.list.d/*.list"))))
    lines, stanzas = sources(one_line, "\n\n".join(map(_text, etc.glob("sources.list.d/*.sources"))))
    (parts / "derived.list").write_text(lines)
    (parts / "derived.sources").write_text(stanzas)
    (private / "status").touch()
    # Not every archive has these suites: that an update fails does not matter as long as the packages are found.
    updated = _apt(private, "update")
    done = _apt(private, "download", *(f"{package}={series}.*" for package in PACKAGES))
    if done.returncode != 0:
        reason = "; ".join(filter(None, (_complaint(done.stderr), _complaint(updated.stderr))))
        raise UnavailableError(f"NVIDIA's libraries of the series {series} cannot be had: {reason}")
    for package in (private / "packages").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, private / "tree"], check=True)
    return private / "tree"


def _text(path):
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def _apt(private, *words):
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": private / "sources.list.d",
        "Dir::State": private / "state",
        "Dir::State::Status": private / "status",
        "Dir::Cache": private / "cache",
        "APT::Sandbox::User": "root",  # the user that apt becomes may not enter the folder
        "Acquire::Retries": 0,
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    try:
        return subprocess.run(
            ["apt-get", "-q", *options, *words],
            cwd=private / "packages",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"NVIDIA's libraries cannot be had: {error}") from None


def _complaint(errors):
    """Return the first of apt's errors or warnings."""
    return next((line[3:] for line in errors.splitlines() if line.startswith(("E: ", "W: "))), "")


def main():
    """Fetch all series.

    Raises:
        UnavailableError: one cannot be had.
    """
    for series in SERIES:
        print(f"NVIDIA's libraries of the series {series}: {fetched(series)}")


if __name__ == "__main__":
    try:
        main()
    except UnavailableError as error:
        sys.exit(str(error))
