"""Play the scene and draw the dashboards as they look at its end: `python -m tests.harness.drawings FOLDER`."""

import sys
import tempfile
from pathlib import Path

from dashboards.src import pictures
from dashboards.src.drawing.answers import Asked
from tests.harness import dashboard_scene as scene


def main(folder: Path) -> None:
    """Draw every dashboard into the folder."""
    with tempfile.TemporaryDirectory() as directory, scene.played(Path(directory)) as played:
        url = f"http://127.0.0.1:{played.prometheus.port}"
        pictures.main(Asked(url, played.start, played.end, 1.0), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
