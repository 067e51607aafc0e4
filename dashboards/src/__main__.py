"""Write every dashboard's JSON: `python -m dashboards.src [FOLDER]`, by default into dashboards/."""

import sys
from pathlib import Path

from dashboards.src import overview, panels, rules

DASHBOARDS = {"overview.json": overview.build, "rules.json": rules.build}


def main(folder: Path) -> None:
    """Build each dashboard into the folder."""
    for name, build in DASHBOARDS.items():
        folder.joinpath(name).write_text(panels.to_json(build()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
