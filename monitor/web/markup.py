"""The page's templates: everything in them is escaped, and times are written so that people and browsers read them."""

from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.responses import HTMLResponse

from monitor import scalars
from monitor.web import statics

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not no-referrer: browsers would then say `Origin: null` of our own forms, which Access takes for another site's.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def templates() -> jinja2.Environment:
    """Return the environment of the templates."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("monitor.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = statics.shipped().url
    made.filters["moment"] = moment
    made.filters["upfirst"] = lambda text: text[:1].upper() + text[1:]
    return made


def moment(at: float, now: float) -> Markup:
    """Return a time as UTC and as its distance from now, which the browser keeps up to date."""
    when = scalars.moment(at)
    is_near = abs(at - now) < 43200
    text = when.strftime("%H:%M:%S UTC" if is_near else "%d %b %Y, %H:%M UTC")
    told = f"{age(now - at)} ago" if at <= now else f"in {age(at - now)}"
    return Markup('<time datetime="{}" title="{}">{}</time> <span class="age" data-at="{:.0f}">({})</span>').format(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime("%Y-%m-%d %H:%M:%S UTC"), text, at, told
    )


def age(seconds: float) -> str:
    """Return a length of time in its largest unit, with the next smaller one where that says something."""
    whole = max(0, int(seconds))
    for (size, unit), (next_size, next_unit) in zip(_UNITS, (*_UNITS[1:], (0, "")), strict=True):
        if whole >= size:
            more = whole % size // next_size if next_size > 1 else 0
            return f"{whole // size} {unit}" + (f" {more} {next_unit}" if more else "")
    return "0 s"


def answer(template: jinja2.Template, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """Answer a page."""
    return HTMLResponse(template.render(values).encode("utf-8", "replace"), status, HEADERS)
