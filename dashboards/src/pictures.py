"""Draw what the dashboards look like: their JSON with what a Prometheus answers to their queries, as SVG.

`python -m dashboards.src.pictures URL START END FOLDER`: times in seconds since 1970. `scripts/pictures` does it with a
scene of its own.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from dashboards.src.drawing import answers, charts, figures, looks, svg
from dashboards.src.drawing.answers import Asked
from dashboards.src.drawing.charts import Frame, Named
from dashboards.src.drawing.svg import Box

DASHBOARDS = Path(__file__).parents[1]
WIDTH, COLUMN, ROW, GAP, HEAD = 1200, 50, 30, 4, 34
NAMESPACE = "http://www.w3.org/2000/svg"


def main(asked: Asked, folder: Path) -> None:
    """Draw every committed dashboard into the folder."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        text = file.read_bytes()
        folder.joinpath(f"{file.stem}.svg").write_text(drawn(asked, text), encoding="utf-8")


def drawn(asked: Asked, text: bytes) -> str:
    """Return the picture of a dashboard, which says from which JSON it was drawn."""
    board = json.loads(text)
    frame = _frame(asked, board)
    shapes = [svg.text(10, 23, board["title"], size=16)]
    shapes.append(svg.text(WIDTH - 10, 22, board["description"], fill=svg.FAINT, anchor="end"))
    height = HEAD
    for panel in board["panels"]:
        place = panel["gridPos"]
        box = Box(place["x"] * COLUMN, HEAD + place["y"] * ROW, place["w"] * COLUMN, place["h"] * ROW)
        height = max(height, int(box.y + box.height))
        shapes += _panel(asked, panel, frame, box.within(GAP, GAP, GAP, GAP))
    size = f'viewBox="0 0 {WIDTH} {height + GAP}" width="{WIDTH}" height="{height + GAP}"'
    return "\n".join(
        [
            f'<svg xmlns="{NAMESPACE}" {size} font-family="Inter, Helvetica, Arial, sans-serif">',
            f"<title>{board['title']}</title>",
            f"<metadata>{fingerprint(text)}</metadata>",
            svg.rectangle(Box(0, 0, WIDTH, height + GAP), svg.BACKGROUND),
            *shapes,
            "</svg>\n",
        ]
    )


def fingerprint(text: bytes) -> str:
    """Return what a picture says of the JSON that it was drawn from."""
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _frame(asked: Asked, board: dict[str, Any]) -> Frame:
    """Return the time range with the dashboard's annotations: when a state began, or the time that a value is."""
    marks = []
    for annotation in board["annotations"]["list"]:
        for series in answers.over_time(asked, annotation["expr"]):
            is_time = annotation.get("useValueForTime")
            begun = {run[0][0] for run in charts.runs(series.points)}
            times = {value / 1000 for _, value in series.points} if is_time else begun
            marks += [(at, annotation["iconColor"]) for at in times if asked.start <= at <= asked.end]
    return Frame(asked.start, asked.end, sorted(marks))


def _panel(asked: Asked, panel: dict[str, Any], frame: Frame, box: Box) -> list[str]:
    if panel["type"] == "row":
        return [svg.text(box.x + 4, box.y + 16, panel["title"], size=13, fill=svg.TEXT)]
    inner = box.within(0, 24, 0, 0)
    shapes = [svg.rectangle(box, svg.PANEL, stroke=svg.LINE, radius=3)]
    shapes.append(svg.text(box.x + 8, box.y + 17, panel["title"], size=12, width=box.width - 12))
    targets = panel["targets"]
    found = [
        (answers.present if target.get("instant") else answers.over_time)(asked, target["expr"]) for target in targets
    ]
    named = [
        Named(looks.legend(target.get("legendFormat", ""), series.labels), series)
        for target, series_of in zip(targets, found, strict=True)
        for series in series_of
    ]
    match panel["type"]:
        case "stat":
            return shapes + figures.stat(panel, found[0], frame, inner)
        case "bargauge":
            return shapes + figures.bars(panel, named, frame, inner)
        case "table":
            return shapes + figures.table(panel, found, frame, inner)
        case "state-timeline":
            return shapes + charts.timeline(panel, named, frame, inner)
        case "timeseries":
            asking = [target["expr"] for target in targets if target.get("exemplar")]
            dots = [dot for query in asking[:1] for dot in answers.exemplars(asked, query)]
            return shapes + charts.lines(panel, named, frame, inner, dots)
        case other:
            raise ValueError(f"no picture is known of a panel of the type {other}")


if __name__ == "__main__":
    address, start, end, folder = sys.argv[1:]
    main(Asked(address, float(start), float(end), 1.0), Path(folder))
