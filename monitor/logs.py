"""Logging: one line an event, a constant event word plus fields, as logfmt or JSON.

Of an exception its type and where it was raised are told, never its message: that quotes whatever could not be read.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import structlog

LEVELS = ("debug", "info", "warning", "error")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # what ends a line, or moves a terminal


def configure(level: str, form: str) -> None:
    """Set up logging for the process: `form` is `logfmt` or `json`; libraries speak through the same line format."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    renderer = _on_one_line(
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=("ts", "level", "event"), bool_as_flag=False)
    )
    structlog.configure(
        processors=[*shared, _tell_exception, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _tell_exception,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    sys.excepthook = lambda *told: _unhandled("process", told[1])
    sys.unraisablehook = lambda told: _unhandled("cleanup", told.exc_value)
    threading.excepthook = lambda told: _unhandled("thread", told.exc_value)


def get() -> Any:
    """Return the logger."""
    return structlog.get_logger()


def unhandled(_: Any, context: dict[str, Any]) -> None:
    """Log what an event loop could give to nobody; its own words for it quote the exception."""
    said = re.match(r"[A-Za-z ]*", str(context.get("message", "")))
    _unhandled(said[0].strip() if said else "", context.get("exception"))


def _unhandled(where: str, error: BaseException | None) -> None:
    get().error("unhandled", where=where, exc_info=error)


def _on_one_line(renderer: Callable[..., Any]) -> Callable[..., str]:
    """Return a renderer whose lines are one each and plain, whatever somebody wrote into a value."""

    def rendered(*told: Any) -> str:
        return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", renderer(*told))

    return rendered


def _tell_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_lines(error))
    return event


def _lines(error: BaseException) -> Iterator[str]:
    """Yield where an exception was raised and its type, the one that it came from first."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        seen.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    for one in reversed(seen):
        yield from (line.rstrip() for line in traceback.format_tb(one.__traceback__))
        yield f"{type(one).__module__}.{type(one).__qualname__}"
