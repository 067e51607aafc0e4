"""What is installed: locked by hash, nothing older than its known faults allow, nothing that must not be there."""

import re
import sys
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
FLOORS = {
    "starlette": "1.6.0",  # CVE-2025-62727, CVE-2025-54121, CVE-2026-48710, -48817, -48818, -54282, -54283
    "h11": "0.16.0",  # CVE-2025-43859
    "uvicorn": "0.54.0",
    "httptools": "0.8.0",
    "pyyaml": "6.0.1",
    "aiohttp": "3.12.14",  # CVE-2025-53643: smuggling by trailers
    "jinja2": "3.1.6",  # CVE-2025-27516
    "requests": "2.32.4",  # CVE-2024-47081
    "urllib3": "2.5.0",  # CVE-2025-50181
    "protobuf": "6.31.1",  # CVE-2025-4565
}
FORBIDDEN = {
    "python-multipart",  # the public listener parses no forms
    "opentelemetry-instrumentation-starlette", "opentelemetry-instrumentation-asgi",  # CVE-2023-43810
}  # fmt: skip


def pinned(file: Path) -> dict[str, str]:
    """Return the versions of a lock file, the lowest where a marker chooses one."""
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;]+)", file.read_text(), re.MULTILINE):
        known = found.get(name.lower())
        found[name.lower()] = version if known is None else min(known, version, key=Version)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_line_is_one_version_with_its_hashes(file: Path) -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", file.read_text()) if entry[0] not in "#-"]

    assert entries
    assert not [entry for entry in entries if "==" not in entry.split("\n", 1)[0] or "--hash=sha256:" not in entry]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_is_older_than_its_known_faults_allow(file: Path) -> None:
    versions = pinned(file)
    old = {
        name: versions[name] for name, floor in FLOORS.items() if Version(versions.get(name, floor)) < Version(floor)
    }

    assert old == {}
    assert FORBIDDEN.isdisjoint(versions)


def test_the_floors_are_of_what_is_shipped() -> None:
    assert set(FLOORS) <= set(pinned(ROOT / "requirements" / "runtime.txt"))


def test_nothing_runs_by_itself_when_the_interpreter_starts() -> None:
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    lines = [line for file in packages.glob("*.pth") for line in file.read_text().splitlines()]

    assert not [line for line in lines if line.startswith("import ") and "distutils" not in line], lines
