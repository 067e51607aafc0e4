"""Pictures of the status page for the documentation: `scripts/pictures` writes them to docs/pictures/.

`python -m tests.harness.pictures FOLDER` takes many more, to be looked at.
"""

import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser

from tests.harness import browser, scene

SHIPPED = Path(__file__).parents[2] / "docs" / "pictures"
DESKTOP, PHONE = (1200, 800), (390, 844)
Scheme = Literal["light", "dark"]


def main() -> None:
    """Take them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    folder.mkdir(parents=True, exist_ok=True)
    is_all = folder != SHIPPED
    with browser.running() as chromium:
        with tempfile.TemporaryDirectory() as name, scene.running(Path(name), is_blocked=True) as url:
            _take(chromium, url, folder / "blocked-light.png", DESKTOP, "light", is_whole=is_all)
            _take(chromium, url, folder / "blocked-phone-dark.png", PHONE, "dark", is_whole=is_all)
            if is_all:
                _take(chromium, url, folder / "blocked-dark.png", DESKTOP, "dark", is_whole=True)
                _take(chromium, url, folder / "blocked-phone-light.png", PHONE, "light", is_whole=True)
                _take_pause(chromium, url, folder / "pause-light.png", DESKTOP, "light")
                _take_pause(chromium, url, folder / "pause-phone-dark.png", PHONE, "dark")
        with tempfile.TemporaryDirectory() as name, scene.running(Path(name), is_blocked=False) as url:
            _take(chromium, url, folder / "allowed-dark.png", DESKTOP, "dark", is_whole=is_all)
            if is_all:
                _take(chromium, url, folder / "allowed-phone-light.png", PHONE, "light", is_whole=True)


def _take(
    chromium: Browser, url: str, file: Path, size: tuple[int, int], scheme: Scheme, *, is_whole: bool = False
) -> None:
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(url)
    page.get_by_text("Live", exact=True).wait_for()
    page.screenshot(path=file, full_page=is_whole)
    page.close()


def _take_pause(chromium: Browser, url: str, file: Path, size: tuple[int, int], scheme: Scheme) -> None:
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(url)
    page.get_by_role("link", name="Review, release or extend").first.click()
    page.screenshot(path=file, full_page=True)
    page.close()


if __name__ == "__main__":
    main()
