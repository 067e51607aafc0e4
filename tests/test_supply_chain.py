"""What is installed: locked by hash, nothing older than its known faults allow, nothing that must not be there."""

import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from tests.harness import tier

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
SHIPPED = [ROOT / "requirements" / "runtime.txt"]
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
# coverage's own line, in a development environment only: it does nothing unless the environment asks for it
ASKED_FOR = 'import sys; exec(\'import os\\n\\nif os.getenv("COVERAGE_PROCESS_START")'
FORBIDDEN = {
    "python-multipart",  # the public listener parses no forms
    "opentelemetry-instrumentation-starlette", "opentelemetry-instrumentation-asgi",  # CVE-2023-43810
}  # fmt: skip


HEAD = re.compile(
    r"# Locked on (\d{4}-\d\d-\d\d) from what was uploaded before (\d{4}-\d\d-\d\d); sha256 of what follows:\n"
    r"# ([0-9a-f]{64})\n"
)
DAYS_OLD = 14
UNREACHED = ("error sending request", "Failed to fetch", "timed out", "dns error", "missing an upload date")


def age_fault(text: str, today: datetime.date) -> str | None:
    """Return what is wrong with the age of a lock file's content as its head tells it, None for nothing."""
    head = HEAD.match(text)
    if head is None:
        return "no head"
    locked, newest = datetime.date.fromisoformat(head[1]), datetime.date.fromisoformat(head[2])
    if locked > today:
        return "locked in the future"
    if (locked - newest).days < DAYS_OLD:
        return "too young"
    if hashlib.sha256(text[head.end() :].encode()).hexdigest() != head[3]:
        return "changed since"
    return None


def hashes(text: str) -> set[str]:
    """Return the hashes of all files that a lock file names."""
    return set(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))


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


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_was_locked_that_is_younger_than_a_fortnight(file: Path) -> None:
    assert age_fault(file.read_text(), datetime.datetime.now(datetime.UTC).date()) is None


@pytest.mark.parametrize(
    ("locked", "newest", "body", "fault"),
    [
        ("2026-11-27", "2026-11-13", "a==1\n", None),
        ("2026-11-27", "2026-11-14", "a==1\n", "too young"),
        ("2026-11-27", "2026-11-13", "a==1\nb==2\n", "changed since"),
        ("2026-11-28", "2026-11-13", "a==1\n", "locked in the future"),
        ("", "", "a==1\n", "no head"),
    ],
)
def test_a_lock_that_was_made_too_early_or_changed_by_hand_is_seen(
    locked: str, newest: str, body: str, fault: str | None
) -> None:
    digest = hashlib.sha256(b"a==1\n").hexdigest()
    head = f"# Locked on {locked} from what was uploaded before {newest}; sha256 of what follows:\n# {digest}\n"

    assert age_fault(head + body, datetime.date(2026, 11, 27)) == fault


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", tier.of(SHIPPED, FILES), ids=lambda file: file.stem)
def test_the_index_says_that_each_locked_file_was_there_before_the_cut_off(file: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv, which asks the package index for the time of uploads, is not installed")
    text = file.read_text()
    head = HEAD.match(text)
    assert head is not None
    pins = re.findall(r"^[A-Za-z0-9_.-]+(?:\[[^\]]*\])?==[^\\\n]*", text, re.MULTILINE)
    (tmp_path / "pins.in").write_text("\n".join(pins))

    found = _compiled(uv, tmp_path, head[2])
    if any(one in found.stderr for one in UNREACHED):
        pytest.skip("the package index does not answer, or does not tell when a file was uploaded")
    too_early = _compiled(uv, tmp_path, "2005-01-01")

    assert found.returncode == 0, found.stderr
    assert hashes(text) - hashes(found.stdout) == set()
    assert too_early.returncode != 0  # the cut-off is heeded


def _compiled(uv: str, folder: Path, newest: str) -> subprocess.CompletedProcess[str]:
    """Resolve the pins among what was uploaded before a day, with the hashes of all that was."""
    options = ["--universal", "--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--python-version=3.11"]
    return subprocess.run(
        [uv, "pip", "compile", *options, f"--exclude-newer={newest}T00:00:00Z", folder / "pins.in"],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip


def test_the_floors_are_of_what_is_shipped() -> None:
    assert set(FLOORS) <= set(pinned(ROOT / "requirements" / "runtime.txt"))


def test_nothing_runs_by_itself_when_the_interpreter_starts() -> None:
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    lines = [line for file in packages.glob("*.pth") for line in file.read_text().splitlines()]
    ran = [line for line in lines if line.startswith("import ") and not line.startswith(ASKED_FOR)]

    assert not [line for line in ran if "distutils" not in line], ran


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_bill_of_materials_names_what_is_locked_with_licences(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "sbom", tmp_path / "sbom.json"], check=True, capture_output=True)
    bill = json.loads((tmp_path / "sbom.json").read_text())
    shipped = {one["name"].lower().replace("_", "-"): one for one in bill["components"]}

    locked = pinned(ROOT / "requirements" / "runtime.txt")
    assert bill["metadata"]["component"]["name"] == "whatsapp-monitor"
    assert {name: one["version"] for name, one in shipped.items()}.items() <= locked.items()
    assert {"starlette", "bcrypt", "aiohttp", "uvloop"} <= set(shipped)
    assert {name for name, one in shipped.items() if not one.get("licenses")} <= {"protobuf"}
    assert {one["ref"] for one in bill["dependencies"]} >= {one["bom-ref"] for one in shipped.values()}
