"""The child that reads documents: the same as here, and whatever ends it is one mistake."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import document, sandbox
from monitor.document import BYTES_MOST, Mistaken
from monitor.sandbox import Sandbox

ROOT = Path(__file__).parents[1]
TEXTS = [
    b"", b"a: 1\nb: [2.5, -1e3, ~, true, 'x']", "\ufeffa: ü €\n".encode(), b"a: &x [1, {b: 2}]\nc: [*x, *x]\n",
    b"- {}\n- []\n- ''", (ROOT / "rules" / "monitor" / "extra.yml").read_bytes(),
]  # fmt: skip
WRONG = [
    b"a: [1, 2", b"b: {c: 1, c: 2}\na: 1\na: 2", b"a: &a [*a]", b"[" * 100_000, b"a: \0", b"a: \xff", b"a: !x 1",
    b"x" * (BYTES_MOST + 1),
]  # fmt: skip

HOSTILE = """
import ctypes, os, resource, time
from monitor import document, sandbox

def read(text, file):
    match text:
        case b"memory":
            kept = bytearray(512 * 1024 * 1024)
        case b"loop":
            while True:
                pass
        case b"crash":
            ctypes.string_at(0)
        case b"exit":
            os._exit(3)
        case b"raise":
            raise RuntimeError("nobody hears this")
        case b"garbage":
            os.write(1, b"}{\\n")
        case b"other":
            os.write(1, b'{"value": [1, 2], "places": [1, 1]}\\n')
        case b"deep":
            os.write(1, b'{"value": ' + b"[" * 100_000 + b"\\n")
        case b"endless":
            while True:
                os.write(1, b"x" * 65536)
        case b"half":
            os.write(1, b'{"value": ')
            os._exit(0)
        case b"sleep":
            time.sleep(600)
        case b"write":
            with open(os.environ.get("TMPDIR", "/tmp") + "/written", "wb") as file:
                file.write(b"x")
        case b"state":
            limits = [resource.getrlimit(kind)[0] for kind in (
                resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)]
            files = sorted(int(name) for name in os.listdir("/proc/self/fd"))
            text = repr({"limits": limits, "files": files, "environment": sorted(os.environ)}).encode()
    return document.read(text, file)

"""


def program(code: str, work: str = "sandbox.work(read)") -> tuple[str, ...]:
    return sandbox._program(code + work)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@pytest.fixture
def hostile() -> Iterator[Sandbox]:
    with Sandbox(program(HOSTILE, "sandbox.PROCESSOR_SECONDS = 1; sandbox.work(read)"), 20.0) as made:
        yield made


def mistakes(box: Sandbox, text: bytes) -> list[str]:
    with pytest.raises(Mistaken) as caught:
        box.read(text, "file.yml")
    return [str(mistake) for mistake in caught.value.mistakes]


def running(box: Sandbox) -> int:
    assert box._child is not None
    return box._child.pid


@pytest.mark.parametrize("text", TEXTS)
def test_a_child_reads_the_same_as_we_do(box: Sandbox, text: bytes) -> None:
    read = box.read(text, "file.yml")

    assert read == document.read(text, "file.yml")
    assert list(read.places) == list(document.read(text, "file.yml").places)


@pytest.mark.parametrize("text", WRONG)
def test_a_child_finds_the_same_mistakes(box: Sandbox, text: bytes) -> None:
    with pytest.raises(Mistaken) as caught:
        document.read(text, "file.yml")

    assert mistakes(box, text) == list(map(str, caught.value.mistakes))


def test_one_child_reads_several_texts_and_goes_with_the_block() -> None:
    with Sandbox() as box:
        box.read(b"a: 1", "a.yml")
        first = running(box)
        mistakes(box, b"a: [")
        box.read(b"a: 2", "b.yml")
        second = running(box)

    assert first == second
    assert box._child is None
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"memory", "it takes more than 256 MiB of memory"),
        pytest.param(b"loop", "it takes more than 20 s of the processor", marks=pytest.mark.slow),
        (b"crash", "its reader was ended by a signal: Segmentation fault"),
        pytest.param(b"exit", "its reader ended with 3", marks=pytest.mark.slow),
        pytest.param(b"raise", "its reader ended with 1", marks=pytest.mark.slow),
        (b"garbage", "its reader answers nonsense"),
        pytest.param(b"other", "its reader answers nonsense", marks=pytest.mark.slow),
        pytest.param(b"deep", "its reader answers nonsense", marks=pytest.mark.slow),
        pytest.param(b"endless", "its reader answers nonsense", marks=pytest.mark.slow),
        pytest.param(b"half", "its reader ended with 0", marks=pytest.mark.slow),
    ],
)
def test_whatever_ends_a_child_is_one_mistake_and_the_next_text_is_read(
    hostile: Sandbox, text: bytes, told: str
) -> None:
    before = hostile.read(b"a: 1", "before.yml")

    assert mistakes(hostile, text) == [f"file.yml: can't be read: {told}"]
    assert before.value == hostile.read(b"a: 1", "after.yml").value == {"a": 1}


@pytest.mark.slow
def test_a_child_that_only_waits_is_given_up_at_the_deadline() -> None:
    with Sandbox(program(HOSTILE), deadline_seconds=1.0) as box:
        started = time.monotonic()

        assert mistakes(box, b"sleep") == ["file.yml: can't be read: it takes longer than 1 s"]
        assert time.monotonic() - started < 5


def test_without_the_limit_the_same_memory_is_given() -> None:
    """The other arm: it is the limit that stops the child, not the machine."""
    with Sandbox(program(HOSTILE, "sandbox._confine = lambda: None; sandbox.work(read)")) as box:
        assert box.read(b"memory", "file.yml").value == "memory"


def test_a_child_writes_no_file(hostile: Sandbox, tmp_path: Path) -> None:
    assert mistakes(hostile, b"write") == ["file.yml: can't be read: its reader ended with 1"]


def test_a_child_has_nothing_of_ours(hostile: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("META_APP_SECRET", "0123456789abcdef")
    with (tmp_path / "ours").open("wb") as ours:
        os.set_inheritable(ours.fileno(), True)

        state = hostile.read(b"state", "file.yml").value

    assert set(state["environment"]) <= {"LC_CTYPE", "LD_LIBRARY_PATH"}  # Python itself puts the first one
    assert len(state["files"]) == 4  # the fourth is that of the list itself
    assert state["limits"] == [0, 0, sandbox.FILES_MOST, sandbox.MEMORY_MOST]


def test_what_aliases_make_too_large_is_a_mistake_though_it_could_be_read_here(box: Sandbox) -> None:
    texts = [b"a: &a '%s'\nb: [%s]" % (part, b", ".join([b"*a"] * 1_000)) for part in (b"x" * 4_500, b"x" * 500_000)]

    for text in texts:
        assert len(document.read(text, "file.yml").value["b"]) == 1_000
        assert mistakes(box, text) == ["file.yml: can't be read: more than 4194304 bytes, aliases expanded"]


def test_who_is_told_to_stop_waits_for_no_child() -> None:
    box = Sandbox(program(HOSTILE))
    heard: list[str] = []
    with box:
        reading = threading.Thread(target=lambda: heard.extend(mistakes(box, b"sleep")))
        reading.start()
        while box._child is None:
            time.sleep(0.01)
        box.close()
        reading.join(10)

        assert heard == ["file.yml: can't be read: its reader was ended by a signal: Killed"]
        assert mistakes(box, b"a: 1") == ["file.yml: can't be read: nothing is read any more"]


FEW_FILES = """
import os, resource, sys
from monitor.document import Mistaken
from monitor.sandbox import Sandbox

most = len(os.listdir("/proc/self/fd")) - 1 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
try:
    with Sandbox() as box:
        print(box.read(b"a: 1", "file.yml").value)
except Mistaken as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (5, "{'a': 1}"),
        (4, "file.yml: can't be read: no reader can be started: Too many open files"),
        pytest.param(
            1, "file.yml: can't be read: no reader can be started: Too many open files", marks=pytest.mark.slow
        ),
    ],
)
def test_five_descriptors_are_enough_to_start_a_child(left: int, said: str) -> None:
    command = [sys.executable, "-c", FEW_FILES, str(left)]

    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout == f"{said}\n"


def test_a_python_that_is_not_there_is_a_mistake() -> None:
    with Sandbox(("/nowhere/python",)) as box:
        assert mistakes(box, b"a: 1") == [
            "file.yml: can't be read: no reader can be started: No such file or directory"
        ]


@pytest.mark.slow
def test_the_package_is_found_as_we_found_it(tmp_path: Path) -> None:
    """As in an image: from a directory on PYTHONPATH, in another working directory, without unsafe paths."""
    code = "from monitor.sandbox import Sandbox\nwith Sandbox() as box: print(box.read(b'a: 1', 'f').value)"
    environment = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, timeout=60)

    assert done.stdout == b"{'a': 1}\n"
