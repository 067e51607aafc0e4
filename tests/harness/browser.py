"""Debian's Chromium, driven by Playwright; nothing but this machine is asked for anything."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.harness import peer

_OPTIONS = (
    "--no-sandbox",  # tests run as root in containers, where it can't
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def running() -> Iterator[Browser]:
    """Start the browser; end it with the block."""
    chromium = peer.path("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()
