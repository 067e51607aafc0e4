"""`python -m tests.mutation [MODULE ...]`: how many small changes of the code some test notices.

The tests are collected once; each mutant is tried in a fork, in which one function's code is another. Two are tried at
a time, with their files in memory where the machine has a place for that: thousands of stores are made and synced.
"""

import functools
import importlib
import inspect
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import pytest

from tests.mutation import mutants
from tests.mutation.mutants import Mutant

STORED = (
    "tests/test_store_queries.py",
    "tests/test_store_pages.py",
    "tests/test_store_outbox.py",
    "tests/test_store_journal.py",
    "tests/test_opening.py",
    "tests/test_store_records.py",
    "tests/test_store.py",
)
TESTS = {
    "monitor.signature": ("tests/test_signature.py", "tests/test_receive.py"),
    "monitor.parse": ("tests/test_parse_whole.py", "tests/test_parse.py", "tests/properties/test_parse_properties.py"),
    "monitor.gate": ("tests/test_gate.py",),
    "monitor.config": ("tests/test_config.py", "tests/test_config_files.py", "tests/test_web_users.py"),
    "monitor.document": ("tests/test_document.py",),
    "monitor.store.opening": ("tests/test_opening.py", "tests/test_writer.py", "tests/test_store.py"),
    "monitor.store.writer": ("tests/test_writer.py", "tests/test_store.py"),
    "monitor.store.sqlite": STORED,
    "monitor.store.rows": STORED,
    "monitor.store.queries": STORED,
    "monitor.store.retention": ("tests/test_retention.py",),
    "monitor.store.high_water": ("tests/test_high_water.py",),
    "monitor.store.room": ("tests/test_room.py",),
    "monitor.store.tail": ("tests/test_store_journal.py",),
}
LEAST = 85.0
AT_ONCE = 2
SECONDS_LEAST, TIMES_SLOWER = 6, 4  # for one test, by the slowest without a change: a mutant that hangs is noticed
SECONDS_MOST = 120
MEMORY = Path("/dev/shm")


def main(modules: list[str]) -> int:
    """Try every mutant; print those that nobody noticed, and the score."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
        scores = [_score(module) for module in modules or TESTS]
    return int(min(scores) < LEAST)


def _score(module: str) -> float:
    trial = Trial(importlib.import_module(module))
    started_at = time.monotonic()
    quiet = ["-o", "addopts=", "-p", "no:terminal", "-p", "no:cacheprovider"]
    pytest.main(["-x", *quiet, "--timeout", "0", "-m", "not slow", *TESTS[module]], plugins=[trial])
    for mutant in trial.survived:
        print(f"  {module}:{mutant.line} {mutant.function}: {mutant.change}")  # noqa: T201
    score = 100 * (trial.tried - len(trial.survived)) / max(1, trial.tried)
    seconds = time.monotonic() - started_at
    print(f"{module}: {score:.1f} % of {trial.tried} mutants noticed, {seconds:.0f} s", flush=True)  # noqa: T201
    return score


class Trial:
    """A plugin of pytest that runs the collected tests once for each mutant, in a fork."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module
        self.tried = 0
        self.seconds = SECONDS_MOST
        self.slowest = multiprocessing.RawValue("d", 0.0)
        self.survived: list[Mutant] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try all mutants."""
        if session.testsfailed or os.waitpid(self._forked(session, None), 0)[1]:
            raise SystemExit(f"{self.module.__name__}: its tests fail without a change, or one takes too long")
        self.seconds = min(SECONDS_MOST, max(SECONDS_LEAST, round(TIMES_SLOWER * self.slowest.value)))
        running: dict[int, Mutant] = {}
        for mutant in mutants.of(inspect.getsource(self.module)):
            if len(running) == AT_ONCE:
                self._finish(running)
            running[self._forked(session, mutant)] = mutant
            self.tried += 1
        while running:
            self._finish(running)
        self.survived.sort(key=lambda mutant: mutant.line)
        return True

    def _finish(self, running: dict[int, Mutant]) -> None:
        child, status = os.wait()
        mutant = running.pop(child)
        if status == 0:
            self.survived.append(mutant)

    def _forked(self, session: pytest.Session, mutant: Mutant | None) -> int:
        """Return the process that runs the tests, which ends well where they pass."""
        child = os.fork()
        if child:
            return child
        try:
            if mutant is not None:
                _put(self.module, mutant)
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            self._run(session)
        except BaseException:  # noqa: BLE001 (the first failure ends it; a mutant that can't be put in place fails)
            os._exit(1)
        os._exit(1 if session.testsfailed else 0)

    def _run(self, session: pytest.Session) -> None:
        for number, item in enumerate(session.items):
            signal.alarm(self.seconds)
            started_at = time.monotonic()
            after = session.items[number + 1] if number + 1 < len(session.items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            self.slowest.value = max(self.slowest.value, time.monotonic() - started_at)
            if session.testsfailed:
                return


def _put(module: types.ModuleType, mutant: Mutant) -> None:
    """Give the module's own function the mutant's code, so that whoever imported it has it too."""
    names = dict(vars(module))
    exec(compile(mutant.tree, str(module.__file__), "exec"), names)
    changed, own = _function(names, mutant.function), _function(vars(module), mutant.function)
    own.__code__ = changed.__code__


def _function(names: Any, path: str) -> types.FunctionType:
    owner, _, name = path.rpartition(".")
    found: Any = names[name] if not owner else inspect.getattr_static(names[owner], name)
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, functools.cached_property):
        found = found.func
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    function: types.FunctionType = inspect.unwrap(found)
    return function


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
