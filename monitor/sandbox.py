"""A child process that reads documents under limits, so that no text can hurt whoever asks.

A text goes in as its length, a line's end and its bytes; value and places, or mistakes, come back as a line of JSON.
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import msgspec

from monitor import document
from monitor.document import Document, Mistake, Mistaken, Reader

PROCESSOR_SECONDS = 20  # for each text: one of 512 KiB takes 3 s
DEADLINE_SECONDS = 60.0
MEMORY_MOST = 256 * 1024 * 1024  # of address space: a text of 512 KiB takes 40 MiB
FILES_MOST = 16
ANSWER_MOST = 4 * 1024 * 1024
NICE = 5  # where the processor is short, whoever asks the gate goes first
_TOO_LONG = f"can't be read: more than {ANSWER_MOST} bytes, aliases expanded"
_PIECE = 64 * 1024
_WORK = "from monitor import sandbox; sandbox.work()"
INHERITED = ("LD_LIBRARY_PATH",)  # without it a Python that was built with a shared library does not start


class _Answer(msgspec.Struct, frozen=True):
    """What a child says of a text; `places` are line and column of each value, in the order in which they stand."""

    value: Any = None
    places: tuple[int, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


class _UnreadableError(Exception):
    """Why a child gave no answer that can be used."""


class Sandbox:
    """The child: started with the first text, anew after one that ended it, and gone with the `with` block."""

    def __init__(self, program: tuple[str, ...] | None = None, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._program = program or _program(_WORK)
        self._deadline_seconds = deadline_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._is_closed = False

    def read(self, text: bytes, file: str) -> Document:
        """Read a text as `document.read` does; raise Mistaken for what ended the child, too."""
        try:
            answer = self._asked(text)
            if answer.mistakes:
                raise Mistaken(msgspec.structs.replace(one, file=file) for one in answer.mistakes)
            return _document(answer, file)
        except _UnreadableError as error:
            self._end()
            raise Mistaken([Mistake(file, 0, 0, "", f"can't be read: {error}")]) from None

    def close(self) -> None:
        """Read nothing more; whoever waits for an answer in another thread hears of it at once."""
        self._is_closed = True
        child = self._child
        if child is not None:
            child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._end()

    def _asked(self, text: bytes) -> _Answer:
        channel = self._channel or self._start()
        ends_at = time.monotonic() + self._deadline_seconds
        answer = bytearray()
        try:
            channel.settimeout(self._deadline_seconds)
            channel.sendall(b"%d\n%b" % (len(text), text))
            while not answer.endswith(b"\n") and len(answer) <= ANSWER_MOST:
                channel.settimeout(max(0.001, ends_at - time.monotonic()))
                piece = channel.recv(_PIECE)
                if not piece:
                    raise _UnreadableError(self._why())
                answer += piece
        except TimeoutError:
            raise _UnreadableError(f"it takes longer than {self._deadline_seconds:g} s") from None
        except OSError:  # written to a child that has gone
            raise _UnreadableError(self._why()) from None
        try:
            return msgspec.json.decode(answer, type=_Answer)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise _UnreadableError("its reader answers nonsense") from None

    def _start(self) -> socket.socket:
        if self._is_closed:
            raise _UnreadableError("nothing is read any more")
        try:
            ours, theirs = socket.socketpair()
            self._channel = ours
            with theirs:
                self._child = subprocess.Popen(  # noqa: S603 (our own Python)
                    self._program,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in INHERITED if name in os.environ},
                    start_new_session=True,  # Ctrl-C is for whoever asks
                )
        except OSError as error:
            raise _UnreadableError(f"no reader can be started: {error.strerror}") from None
        if self._is_closed:  # meanwhile
            self._child.kill()
        return ours

    def _why(self) -> str:
        """Return how the child ended, which it did by itself."""
        code = self._end()
        if code == -signal.SIGXCPU:
            return f"it takes more than {PROCESSOR_SECONDS} s of the processor"
        if code < 0:
            return f"its reader was ended by a signal: {signal.strsignal(-code)}"
        return f"its reader ended with {code}"

    def _end(self) -> int:
        """Let go of the child, and return its exit code: a negative one is a signal."""
        if self._channel is not None:
            self._channel.close()
        child, self._child, self._channel = self._child, None, None
        if child is None:
            return 0
        child.kill()  # one that is ending keeps its code
        return child.wait()


def work(read: Reader = document.read) -> None:
    """Be the child: answer each text until there are no more."""
    _confine()
    texts, answers = sys.stdin.buffer, sys.stdout.buffer
    while length := texts.readline():
        text = texts.read(int(length))
        spent = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + PROCESSOR_SECONDS)
        answers.write(_answer(text, read))
        answers.flush()


def _program(work: str) -> tuple[str, ...]:
    """Return how to run Python that imports what we do, and looks at nothing else than that."""
    return (sys.executable, "-I", "-S", "-B", "-c", f"import sys; sys.path[:] = sys.argv[1:]; {work}", *sys.path)


def _confine() -> None:
    os.nice(NICE)
    for kind, most in (
        (resource.RLIMIT_CORE, 0),  # a crash leaves no copy of what was read
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, FILES_MOST),
        (resource.RLIMIT_AS, MEMORY_MOST),
    ):
        _limit(kind, most)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    with contextlib.suppress(OSError, ValueError):  # macOS has no limit to address space
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(text: bytes, read: Reader) -> bytes:
    try:
        line = msgspec.json.encode(_said(text, read)) + b"\n"
        if len(line) <= ANSWER_MOST:
            return line
        told = _TOO_LONG
    except MemoryError:
        told = f"can't be read: it takes more than {MEMORY_MOST // 1024 // 1024} MiB of memory"
    return msgspec.json.encode(_wrong(told)) + b"\n"


def _said(text: bytes, read: Reader) -> _Answer:
    try:
        found = read(text, "")
    except Mistaken as error:
        return _Answer(mistakes=error.mistakes)
    if _letters(found.value) > ANSWER_MOST:  # an encoder that runs out of memory crashes
        return _wrong(_TOO_LONG)
    return _Answer(found.value, tuple(number for place in found.places.values() for number in place))


def _wrong(told: str) -> _Answer:
    return _Answer(mistakes=(Mistake("", 0, 0, "", told),))


def _letters(value: Any) -> int:
    if isinstance(value, dict):
        return sum(len(key) + _letters(inner) for key, inner in value.items())
    return sum(map(_letters, value)) if isinstance(value, list) else len(str(value))


def _document(answer: _Answer, file: str) -> Document:
    found = answer.places
    paths = list(_paths(answer.value))
    if len(found) != 2 * len(paths):
        raise _UnreadableError("its reader answers nonsense")
    return Document(file, answer.value, dict(zip(paths, zip(found[::2], found[1::2], strict=True), strict=True)))


def _paths(value: Any) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each value, in the order in which they stand."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, here = waiting.pop()
        yield path
        if isinstance(here, dict):
            waiting.extend([((*path, key), inner) for key, inner in here.items()][::-1])
        elif isinstance(here, list):
            waiting.extend([((*path, number), inner) for number, inner in enumerate(here)][::-1])
