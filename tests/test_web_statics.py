"""The page's files: kept for ever under their hash, and what others wrote is what its notice says."""

import gzip
import hashlib
import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route

from monitor.web import statics
from tests.asgi import Answer, call

FOLDER = Path(__file__).parents[1] / "monitor" / "web" / "static"
OWN = {"page.css", "page.js", "icon.svg", "NOTICE.md"}


def test_each_file_of_others_is_noticed_with_its_hash_and_licence() -> None:
    notice = (FOLDER / "NOTICE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| `[^`]+` \| (\w+) \| `([0-9a-f]{64})` \|$", notice, re.MULTILINE)

    assert {name for name, *_ in rows} == {file.name for file in FOLDER.iterdir()} - OWN
    for name, package, licence, digest in rows:
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
        assert f"## {package.strip()}\n" in notice
        assert licence in {"MIT", "0BSD"}


async def asked(url: str, *headers: tuple[str, str]) -> Answer:
    app = Starlette(routes=[Route("/static/{name}", statics.shipped().file)])
    return await call(app, "GET", url, headers=headers)


async def test_a_file_may_be_kept_for_ever_under_its_hash_only() -> None:
    url = statics.shipped().url("page.css")

    named, nameless, stale = [await asked(one) for one in (url, "/static/page.css", "/static/page.css?v=0")]

    assert named.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert nameless.headers["cache-control"] == stale.headers["cache-control"] == "no-cache"
    assert named.body == (FOLDER / "page.css").read_bytes()
    assert named.headers["content-type"] == "text/css; charset=utf-8"


async def test_a_file_comes_packed_where_that_is_understood() -> None:
    packed = await asked("/static/htmx.min.js", ("Accept-Encoding", "gzip, br"))

    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == (FOLDER / "htmx.min.js").read_bytes()


async def test_nothing_else_is_served() -> None:
    for name in ("NOTICE.md", "..%2Fpage.py", "__init__.py", "none.js"):
        assert (await asked(f"/static/{name}")).status == 404


def test_nothing_in_our_own_files_needs_what_the_policy_forbids() -> None:
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    templates = [file.read_text(encoding="utf-8") for file in FOLDER.parent.glob("templates/**/*.html")]

    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://", script)
    for text in templates:
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:|\| *safe|<script(?! defer src=)", text)
