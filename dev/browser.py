"""The Chromium for the tests in a browser: one that is installed, or Debian's, installed now. Standard library only.

    python3 dev/browser.py

prints where it is. Playwright's own download is not used: a Chromium of the system gets the system's security fixes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FLAGS", "BrowserMissingError", "chromium", "installed"]

VARIABLE = "CHROMIUM"
"""The environment variable that names the program to use."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    # Root may not have Chromium's sandbox, nor may anybody in most containers; it only opens pages of this machine.
    "--no-sandbox",
    "--disable-gpu",
    # Nothing but what a test opens.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # A container's /dev/shm may be too small for a large page.
    "--disable-dev-shm-usage",
)

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "chromium")

ADVICE = (
    "The tests in a browser need Chromium. Install it (Debian: `apt-get install --no-install-recommends chromium`; "
    f"elsewhere Chromium or Google Chrome), or set {VARIABLE} to the path of one"
)


class BrowserMissingError(RuntimeError):
    """There is no Chromium, and none could be installed."""


def chromium() -> Path:
    """The path of a Chromium that starts. Where there is none and this process may install one, it does.

    Raises:
        BrowserMissingError: the message says why there is none, and what to install.
    """
    with _only_one():
        return installed() or _install()


def installed() -> Path | None:
    """The path of the installed Chromium, or None.

    Raises:
        BrowserMissingError: the environment variable names a program that does not start.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None or not _starts(found):
            raise BrowserMissingError(f"{VARIABLE} is {named!r}, and `{named} --version` does not work. {ADVICE}")
        return Path(found)
    for name in NAMES:
        found = shutil.which(name)
        # Ubuntu's chromium-browser may be a script that only names the snap to install.
        if found is not None and _starts(found):
            return Path(found)
    return None


def _install() -> Path:
    if os.geteuid():
        raise BrowserMissingError(f"{ADVICE}. Only root could do that from here")
    if shutil.which(INSTALL[0]) is None:
        raise BrowserMissingError(f"{ADVICE}. This machine has no {INSTALL[0]}, which could do that from here")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A fresh image has no lists of packages. Whether reading them worked shows in the installation.
    subprocess.run((INSTALL[0], "update"), env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    done = subprocess.run(INSTALL, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrowserMissingError(
            f"{ADVICE}. `{' '.join(INSTALL)}` exited with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
        )
    found = installed()
    if found is None:
        raise BrowserMissingError(f"{ADVICE}. `{' '.join(INSTALL)}` installed none that starts")
    return found


def _starts(program: str) -> bool:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Of several test processes, one installs."""
    lock = Path(tempfile.gettempdir()) / f"airflow-provider-conductor-browser-{os.getuid()}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        print(chromium())
    except BrowserMissingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
