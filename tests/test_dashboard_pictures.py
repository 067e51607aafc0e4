"""The pictures of the dashboards: drawn from the JSON as it stands, whole, and shown in the documentation."""

import json
import re
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboards.src import pictures
from dashboards.src.drawing import charts, looks, svg, units
from dashboards.src.drawing.answers import Asked
from tests import boards
from tests.boards import DASHBOARDS, ROOT, TITLES

PICTURES = ROOT / "docs" / "pictures"
BYTES_MOST = 150_000
NOW = 1_000.0


class Stub(BaseHTTPRequestHandler):
    """Answers every query with a rising series of one value a second, or with nothing."""

    values: float | None = 3.0

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = parse_qs(address.query)
        result: list[object] = []
        if self.values is not None and address.path.endswith("query_range"):
            start, end = (int(float(asked[name][0])) for name in ("start", "end"))
            points = [[at, str(self.values * (at - start))] for at in range(start, end)]
            result = [{"metric": {"code": "<368>"}, "values": points}]
        elif self.values is not None and address.path.endswith("query"):
            result = [{"metric": {"code": "<368>"}, "value": [NOW, str(self.values)]}]
        body = json.dumps({"status": "success", "data": {"result": result} if "exemplars" not in self.path else []})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def asked() -> Iterator[Asked]:
    Stub.values = 3.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Asked(f"http://127.0.0.1:{server.server_port}", NOW - 20, NOW, 1.0)
    server.shutdown()
    server.server_close()


def words(picture: str) -> list[str]:
    """Return the texts of a picture."""
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{{{pictures.NAMESPACE}}}text")]


def committed(name: str) -> str:
    return (PICTURES / f"{name}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TITLES)
def test_a_picture_was_drawn_from_the_dashboard_as_it_stands(name: str) -> None:
    text = (DASHBOARDS / f"{name}.json").read_bytes()

    drawn_from = re.findall(r"<metadata>(.*)</metadata>", committed(name))

    assert drawn_from == [pictures.fingerprint(text)], "run scripts/pictures and commit what it draws"


@pytest.mark.parametrize("name", TITLES)
def test_a_picture_shows_every_panel_and_is_small(name: str) -> None:
    shown = words(committed(name))

    titles = [panel["title"] for panel in boards.committed(name)["panels"]]

    assert all(any(word[:12] == title[:12] for word in shown) for title in titles)
    assert len(committed(name)) < BYTES_MOST
    assert "Unknown" not in shown


def test_the_page_of_the_dashboards_shows_each_picture_under_its_title() -> None:
    page = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")

    shown = re.findall(r"### (.+?)\n\n(?:[^#!]+)!\[(.+?)\]\(pictures/(.+?)\.svg\)", page)

    assert [(f"WhatsApp {heading}".lower(), picture) for heading, _, picture in shown] == [
        (title.lower(), name) for name, title in TITLES.items()
    ]
    assert {path.stem for path in PICTURES.glob("*.svg")} >= TITLES.keys()


@pytest.mark.parametrize("name", TITLES)
def test_a_dashboard_is_drawn_from_what_is_answered(asked: Asked, name: str) -> None:
    picture = pictures.drawn(asked, (DASHBOARDS / f"{name}.json").read_bytes())

    assert picture == pictures.drawn(asked, (DASHBOARDS / f"{name}.json").read_bytes())
    assert "<polyline" in picture
    assert ElementTree.fromstring(picture).get("width") == str(pictures.WIDTH)


def test_what_is_paused_is_said_in_words_and_colour_and_nothing_known_is_said_too(asked: Asked) -> None:
    text = (DASHBOARDS / "overview.json").read_bytes()

    paused = pictures.drawn(asked, text)
    Stub.values = None
    unknown = pictures.drawn(asked, text)

    assert ("Paused" in words(paused), "Not paused" in words(paused)) == (True, False)
    assert ("Unknown" in words(unknown), "Not paused" in words(unknown)) == (True, True)
    assert "Nothing is paused" in words(unknown)


def test_a_restriction_without_an_end_is_told_as_one(asked: Asked) -> None:
    Stub.values = 0.0

    picture = pictures.drawn(asked, (DASHBOARDS / "errors.json").read_bytes())

    assert "No end told" in words(picture)
    assert not [word for word in words(picture) if "1970-01-01" in word]


def test_a_label_cannot_break_the_picture(asked: Asked) -> None:
    picture = pictures.drawn(asked, (DASHBOARDS / "errors.json").read_bytes())

    assert "<368>" in words(picture)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0, "s", "0 s"),
        (0.0021, "s", "2.1 ms"),
        (90.0, "s", "1.5 min"),
        (0.125, "percentunit", "12.5 %"),
        (1_500.0, "short", "1.5 K"),
        (float("inf"), "short", "no limit"),
        (2_097_152.0, "bytes", "2 MiB"),
        (3.0, "cpm", "3/min"),
        (12.5, "mps", "12.5 msg/s"),
        ((NOW - 7200) * 1000, "dateTimeFromNow", "2 h ago"),
        (1_700_000_000_000.0, "dateTimeAsIso", "2023-11-14 22:13"),
    ],
)
def test_numbers_are_written_as_grafana_writes_them(value: float, unit: str, said: str) -> None:
    assert units.written(value, unit, NOW) == said


def test_a_count_that_was_extrapolated_is_rounded_where_the_panel_says_so() -> None:
    assert units.written(7.05, "short", NOW, 0) == "7"


def test_a_line_has_a_gap_where_nothing_was_scraped() -> None:
    points = [(1.0, 5.0), (2.0, 5.0), (6.0, 5.0), (7.0, 5.0)]

    assert charts.runs(points) == [points[:2], points[2:]]


def test_the_highest_threshold_that_is_reached_colours_a_number() -> None:
    steps = [{"value": None, "color": "green"}, {"value": 1, "color": "orange"}, {"value": 4, "color": "red"}]
    panel = {"fieldConfig": {"defaults": {"thresholds": {"steps": steps}}}}

    colors = [looks.by_threshold(panel, value) for value in (0.0, 1.0, 3.9, 4.0)]

    assert colors == [svg.color(name) for name in ("green", "orange", "orange", "red")]
