"""What a Prometheus answers to the queries of a dashboard, with values in the place of Grafana's variables."""

import json
import math
import re
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urlencode

EVERYTHING = {
    "job": ".+",
    "instance": ".+",
    "waba_id": ".*",
    "phone_number_id": ".*",
    "campaign": ".*",
}


class Asked(NamedTuple):
    """Where to ask, from when to when, and how often it scrapes."""

    url: str
    start: float
    end: float
    interval_seconds: float


class Series(NamedTuple):
    """One series: its labels, and its values with their times."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


def over_time(asked: Asked, query: str) -> list[Series]:
    """Return the series of a query over the time range, those without any value left out."""
    step = max(asked.interval_seconds, (asked.end - asked.start) / 200)
    times = {"start": asked.start, "end": asked.end, "step": step}
    found = _get(asked, "query_range", {"query": filled(asked, query), **times})["result"]
    series = [Series(one["metric"], _points(one["values"])) for one in found]
    return sorted((one for one in series if one.points), key=lambda one: sorted(one.labels.items()))


def present(asked: Asked, query: str) -> list[Series]:
    """Return the series of a query at the end of the time range, in the order of the answer."""
    found = _get(asked, "query", {"query": filled(asked, query), "time": asked.end})["result"]
    return [one for one in (Series(one["metric"], _points([one["value"]])) for one in found) if one.points]


def exemplars(asked: Asked, query: str) -> list[tuple[float, float]]:
    """Return the times and values of the exemplars of a query's series."""
    found = _get(asked, "query_exemplars", {"query": filled(asked, query), "start": asked.start, "end": asked.end})
    return sorted({(one["timestamp"], float(one["value"])) for series in found for one in series["exemplars"]})


def filled(asked: Asked, query: str) -> str:
    """Return the query as Grafana would ask it with everything chosen."""
    query = query.replace("$__rate_interval", f"{math.ceil(8 * asked.interval_seconds)}s")
    query = query.replace("$__range", f"{math.ceil(asked.end - asked.start)}s")
    return re.sub(r"\$(\w+)", lambda found: EVERYTHING[found[1]], query)


def _get(asked: Asked, name: str, about: dict[str, Any]) -> Any:
    with urllib.request.urlopen(f"{asked.url}/api/v1/{name}?{urlencode(about)}", timeout=30) as answer:  # noqa: S310
        return json.load(answer)["data"]


def _points(values: list[list[Any]]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in values if value != "NaN"]
