"""dev/browser.py: which Chromium the tests get, and what is done where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dev import browser


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    return tmp_path


def program(path: Path, script: str = "echo Chromium 156.0") -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def apt(programs: Path, script: str) -> Path:
    """An apt-get that notes how it was called, then does this at `install`."""
    calls = programs / "calls"
    program(programs / "apt-get", f'echo "$@" >> {calls}; [ "$1" = install ] || exit 1\n{script}')
    return calls


def as_user(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: number)


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
def test_an_installed_one_is_found_in_the_path(programs: Path, name: str) -> None:
    there = program(programs / name)
    assert browser.chromium() == there


def test_the_variable_wins(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs / "chromium")
    monkeypatch.setenv("CHROMIUM", str(program(tmp_path / "mine")))
    assert browser.chromium() == tmp_path / "mine"


def test_a_variable_that_names_nothing_is_an_error_and_not_passed_over(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs / "chromium")
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(browser.BrowserMissingError, match=r"CHROMIUM is '/nowhere/chromium'.*does not work"):
        browser.chromium()


def test_a_script_that_only_names_a_package_is_no_browser(programs: Path) -> None:
    program(programs / "chromium-browser", "echo requires the chromium snap; exit 1")
    chrome = program(programs / "google-chrome")
    assert browser.chromium() == chrome


def test_root_installs_debians_where_there_is_none(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 0)
    new = programs / "chromium"
    calls = apt(programs, f"printf '#!/bin/sh\\n' > {new}; /bin/chmod 755 {new}")
    assert browser.chromium() == new
    # That the lists could not be read anew does not matter.
    assert calls.read_text().splitlines() == ["update", "install -y --no-install-recommends chromium"]


@pytest.mark.parametrize(
    ("user", "has_apt", "why"),
    [
        (1000, True, "Only root could do that"),
        (0, False, "no apt-get"),
        (0, True, r"exited with 100: E: Unable to locate package chromium"),
    ],
)
def test_where_it_cannot_be_installed_the_message_says_what_to_install(
    programs: Path, monkeypatch: pytest.MonkeyPatch, user: int, has_apt: bool, why: str
) -> None:
    as_user(monkeypatch, user)
    if has_apt:
        apt(programs, "echo 'E: Unable to locate package chromium' >&2; exit 100")
    with pytest.raises(browser.BrowserMissingError, match=rf"apt-get install --no-install-recommends chromium.*{why}"):
        browser.chromium()


def test_an_installation_that_brings_none_is_an_error(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 0)
    apt(programs, "exit 0")
    with pytest.raises(browser.BrowserMissingError, match="installed none that starts"):
        browser.chromium()
