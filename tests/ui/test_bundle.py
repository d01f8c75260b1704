"""The committed bundle of the pages in Airflow's UI. It is built with `make ui`; users and CI have no Node."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

from tests.docs.pages import ROOT

SOURCES = ROOT / "ui"
STATIC = ROOT / "airflow_provider_conductor" / "ui" / "static"
INPUTS = [".npmrc", "index.html", "package-lock.json", "package.json", "stamp.ts", "tsconfig.json", "vite.config.ts"]

# Names of XML vocabularies, and what React puts into the text of an error. None of them is fetched.
NOT_FETCHED = re.compile(
    r"http://www\.w3\.org/(1998/Math/MathML|1999/xlink|2000/svg|XML/1998/namespace)|https://react\.dev/errors/"
)


def texts() -> dict[str, str]:
    return {path.relative_to(STATIC).as_posix(): path.read_text() for path in STATIC.rglob("*") if path.is_file()}


def digest(root: Path) -> str:
    """The digest that ui/stamp.ts writes."""
    below = [
        path.relative_to(root).as_posix()
        for folder in ("public", "src")
        for path in (root / folder).rglob("*")
        if path.is_file()
    ]
    whole = hashlib.sha256()
    for name in sorted([*INPUTS, *below]):
        whole.update(f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n".encode())
    return whole.hexdigest()


def test_the_bundle_is_built_from_the_sources_as_they_are() -> None:
    stamp = (STATIC / "SOURCES.sha256").read_text().strip()
    assert stamp == digest(SOURCES), "ui/ has changed since the bundle was built: run make ui, and commit the result"


def test_it_has_the_files_that_the_page_asks_for_and_no_others() -> None:
    page = (STATIC / "index.html").read_text()
    assert sorted(re.findall(r'(?:src|href)="([^"]*)"', page)) == ["./assets/app.css", "./assets/app.js"]
    assert set(texts()) == {
        "index.html",
        "SOURCES.sha256",
        "assets/app.css",
        "assets/app.js",
        "assets/icon.svg",
        "assets/LICENSES.md",
    }


def test_it_is_small() -> None:
    assert sum(len(gzip.compress(path.read_bytes())) for path in STATIC.rglob("*") if path.is_file()) < 400_000


def test_it_fetches_nothing_from_other_hosts() -> None:
    for name, text in texts().items():
        if name.endswith(".md"):
            continue
        assert re.findall(r"(?:https?:|wss?:)?//[a-z0-9-]+\.[a-z]{2,}[^\s\"'`)]*", NOT_FETCHED.sub("", text)) == [], (
            name
        )
        assert not re.search(r"sendBeacon|new WebSocket|EventSource|importScripts|@import", text), name


def test_it_has_no_source_maps_and_names_no_folder_of_the_machine_that_built_it() -> None:
    for name, text in texts().items():
        assert "sourceMappingURL" not in text, name
        assert not re.search(r"node_modules|/(home|root|work|tmp|Users)/|[A-Z]:\\\\", text), name


def test_the_page_runs_no_script_and_has_no_style_of_its_own() -> None:
    """So that a Content-Security-Policy without `unsafe-inline` serves it."""
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)


def test_nothing_in_it_is_made_markup_by_our_code() -> None:
    for path in (SOURCES / "src").rglob("*.ts*"):
        assert not re.search(r"dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML", path.read_text()), path


def test_the_lock_names_no_registry() -> None:
    lock = (SOURCES / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') > 50
