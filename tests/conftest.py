"""What every test has: an Airflow home of its own, and Conductor servers for those that ask."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from airflow_provider_conductor.testing import ConductorStandIn
from dev.conductor_server import NEWEST, OLDEST, ConductorServer
from dev.shared_servers import VARIABLE, ask_for

if TYPE_CHECKING:
    from tests.operators.batch_standin import Orders
    from tests.operators.workflows import Workflows

NOT_HERE = pytest.StashKey[dict[str, list[str]]]()
"""What the Conductor under test lacks → the tests that were left out for it."""

pytest_plugins = ["airflow_provider_conductor.testing.fixtures"]

# Where the shell forbids bytecode files, each process that imports Airflow would compile it anew, for seconds. They are
# kept in the environment, and not beside the sources.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = os.path.join(sys.prefix, "pycache")
sys.dont_write_bytecode = False

# Airflow reads these when it is imported, so they are set before any test module is. What the developer's shell
# says of another Airflow doesn't reach the tests.
for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]
_airflow_home = tempfile.mkdtemp(prefix="airflow-home-")
# Registered before Airflow registers anything, so it runs last.
atexit.register(shutil.rmtree, _airflow_home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _airflow_home
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_airflow_home}/airflow.db?timeout=60"


# A busy machine is no failure.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this Airflow, or the Conductor whose URL is given, cannot have."""
    running = _numbers(version("apache-airflow"))
    left_out: list[pytest.Item] = []
    for item in items:
        for mark in item.iter_markers("airflow_versions"):
            if not _numbers(mark.kwargs.get("since", "0")) <= running < _numbers(mark.kwargs.get("before", "99")):
                left_out.append(item)
                break
        else:
            why = _why_not_here(item)
            if why is not None:
                left_out.append(item)
            if why:
                config.stash.setdefault(NOT_HERE, {}).setdefault(why, []).append(item.nodeid)
    # A process of xdist's has no summary; the main one has that of the last to end.
    getattr(config, "workeroutput", {})["not_here"] = config.stash.get(NOT_HERE, {})
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of xdist's has left out."""
    node.config.stash[NOT_HERE] = getattr(node, "workeroutput", {}).get("not_here", {})


def _why_not_here(item: pytest.Item) -> str | None:
    """What the Conductor under test lacks that the test needs, or "" if it has what the test wants missing.

    The newest release with SQLite, which runs where no URL is given, has everything.
    """
    needs, lacks = ([name for mark in item.iter_markers(kind) for name in mark.args] for kind in ("needs", "lacks"))
    if not needs and not lacks:
        return None
    url = os.environ.get("CONDUCTOR_TEST_SERVER_URL")
    if not url:
        return "" if lacks else None
    from tests.integration.abilities import unmet

    return unmet(f"{_root(url)}/api", needs, lacks)


def _root(url: str) -> str:
    return url.rstrip("/").removesuffix("/api")


def _numbers(airflow_version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in airflow_version.split(".")[:2])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What tests have counted: their property "counted", which comes here from whichever process they ran in.

    And those that were left out, since the server lacks what they are about.
    """
    for why, names in config.stash.get(NOT_HERE, {}).items():
        terminalreporter.section(f"left out: {len(names)} tests, since this server {why}")
        for name in names:
            terminalreporter.write_line(name)
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    counted = [line for report in reports for name, line in report.user_properties if name == "counted"]
    if counted:
        terminalreporter.section("counted")
        for line in counted:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def left_to_others(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What killed tasks have left to a process that outlives them, which no test wants to be outlived by."""
    from airflow_provider_conductor.client import detached_termination as detached

    left: list[list[str]] = []
    monkeypatch.setattr(detached, "terminate_detached", lambda settings, ids, reason, log: left.append(list(ids)))
    return left


UNHURRIED: dict[str, float | tuple[float, ...]] = {
    "batch.driver.FIRST_POLL": 0.05,
    "batch.driver.TOGETHER": 0.1,
    "polling.poller.SHORTEST": 0.1,
    "batch.item_starts.LOOKUP_PAUSES": (0.0, 0.01, 0.01),
    "control.selection.LOOKUP_PAUSES": (0.0, 0.01, 0.01),
    "polling.next_poll.SHORTEST": 0.1,
    "polling.missing_workflow.ASK_AGAIN": (0.01,) * 4,
    "submission.start_once.LOOKUP_PAUSES": (0.0, 0.01, 0.01),
}
"""Pauses that leave a real server time, of which the stand-in needs less; those that a test is about it sets itself."""


@pytest.fixture
def conductor(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> ConductorStandIn:
    """The stand-in that ``conductor_default`` leads to, with a workflow ``orders``; its index does not lag."""
    for name, seconds in UNHURRIED.items():
        monkeypatch.setattr(f"airflow_provider_conductor.{name}", seconds)
    conductor.definitions.add("orders")
    return conductor


@pytest.fixture
def orders(conductor: ConductorStandIn) -> Orders:
    """What the stand-in does with a batch's inputs."""
    from tests.operators.batch_standin import Orders

    return Orders(conductor)


@pytest.fixture(scope="module")
def workflows(request: pytest.FixtureRequest) -> Iterator[Workflows]:
    """On the server whose fixture the test names, to which the tasks' connection leads."""
    from airflow_provider_conductor.client import ConductorClient
    from tests.operators.workflows import Workflows

    url = request.getfixturevalue(request.param).api_url
    with pytest.MonkeyPatch.context() as patch, ConductorClient(url) as client:
        patch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{url}"}}')
        yield Workflows(client)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that somebody else has started: the developer, or who runs the tests."""

    url: str

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"


def _server(version: str, variable: str) -> Iterator[ConductorServer | RunningServer]:
    url = os.environ.get(variable)
    if url:
        yield RunningServer(_root(url))
        return
    if shared := os.environ.get(VARIABLE):
        yield RunningServer(ask_for(version, shared))
        return
    with ConductorServer(version) as server:
        yield server


@pytest.fixture(scope="session")
def conductor_server() -> Iterator[ConductorServer | RunningServer]:
    """The newest Conductor; CONDUCTOR_TEST_SERVER_URL names one that runs already."""
    yield from _server(NEWEST, "CONDUCTOR_TEST_SERVER_URL")


@pytest.fixture(scope="session")
def old_conductor_server() -> Iterator[ConductorServer | RunningServer]:
    """The oldest Conductor that the provider serves; CONDUCTOR_TEST_OLD_SERVER_URL names one that runs already."""
    yield from _server(OLDEST, "CONDUCTOR_TEST_OLD_SERVER_URL")
