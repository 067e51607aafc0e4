"""Write every dashboard's JSON, and the alerts in their other forms: `python -m dashboards.src`.

With a FOLDER the dashboards are written there, and nothing else.
"""

import sys
from pathlib import Path

from dashboards.src import alerting, campaigns, errors, gate, overview, panels, phone_number, rules, sidecar

DASHBOARDS = {
    "overview.json": overview.build,
    "phone-number.json": phone_number.build,
    "errors.json": errors.build,
    "campaigns.json": campaigns.build,
    "gate.json": gate.build,
    "rules.json": rules.build,
    "monitor.json": sidecar.build,
}


def main(folder: Path) -> None:
    """Build each dashboard into the folder."""
    for name, build in DASHBOARDS.items():
        folder.joinpath(name).write_text(panels.to_json(build()), encoding="utf-8")


def alerts(root: Path) -> None:
    """Write the alerts for Kubernetes and for Grafana."""
    for name, text in alerting.files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        main(Path(__file__).parents[1])
        alerts(Path(__file__).parents[2])
