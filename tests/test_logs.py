"""A log line tells where an exception was raised, and nothing of what it quotes."""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from monitor import logs

SAID = "words of a customer"


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    root.handlers, root.level = before
    structlog.reset_defaults()


def fail() -> None:
    try:
        raise KeyError(SAID)
    except KeyError as error:
        raise ValueError(f"can't read {SAID}") from error


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_ours_and_the_libraries_lines_tell_types_and_places(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", form)
    try:
        fail()
    except ValueError:
        logs.get().exception("ours")
        logging.getLogger("library").exception("theirs")

    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "builtins.KeyError" in line
        assert "builtins.ValueError" in line
        assert "in fail" in line
        assert SAID not in line


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_what_somebody_wrote_begins_no_line_of_its_own_and_moves_no_terminal(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug", form)
    evil = "ann\rts=2026 level=error\n\x1b[31m\x00\x7f\x9b\u2028"

    logs.get().info("ours", actor=evil, told=[evil])
    logging.getLogger("library").warning(evil)

    lines = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert all("ann" in line and "[31m" in line for line in lines)


def test_what_nobody_catches_is_told_in_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "logfmt")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(logs.unhandled)
    context: dict[str, Any] = {"message": f"Exception in callback <{SAID}>", "exception": ValueError(SAID)}

    loop.call_exception_handler(context)
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    loop.close()

    told = capsys.readouterr().err
    assert "Exception in callback" in told
    assert "where=process" in told
    assert "in fail" in told
    assert SAID not in told
