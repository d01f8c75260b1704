"""The stand-in answers what a real server answers: the same requests to both, status for status, field for field."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from airflow_provider_conductor.testing import ConductorStandIn, Script

UNKNOWN = str(uuid.uuid4())
LABEL = f"label-{uuid.uuid4()}"


@dataclass(frozen=True)
class Step:
    """A request; ``{running}``, ``{completed}`` and ``{failed}`` in it stand for the ids of such workflows."""

    method: str
    path: str
    body: Any = None


CORRELATED = Step("POST", "/workflow/{name}/correlated?includeClosed=true", [LABEL])
BULK_SEARCH = Step("POST", "/workflow/bulk/search?includeTasks=false", ["{running}", UNKNOWN])
BULK_SEARCH_WITH_TASKS = Step("POST", "/workflow/bulk/search?includeTasks=true", ["{running}", UNKNOWN])

STEPS: dict[str, tuple[Step, ...]] = {
    "start": (
        Step("POST", "/workflow", {"name": "{name}", "version": 1, "correlationId": LABEL}),
        Step("POST", "/workflow", {"name": f"nobody_has_defined_{UNKNOWN}"}),
    ),
    "read": (
        Step("GET", "/workflow/{running}"),
        Step("GET", "/workflow/{running}?includeTasks=false"),
        Step("GET", "/workflow/{running}/status"),
        Step("GET", "/workflow/{completed}"),
        Step("GET", "/workflow/{completed}/status?includeOutput=true"),
        Step("GET", f"/workflow/{UNKNOWN}"),
        Step("GET", f"/workflow/{UNKNOWN}/status"),
        CORRELATED,
        BULK_SEARCH,
        BULK_SEARCH_WITH_TASKS,
        Step("GET", "/no/such/route"),
    ),
    "pause and resume": (
        Step("PUT", "/workflow/{running}/resume"),
        Step("PUT", "/workflow/{running}/pause"),
        Step("PUT", "/workflow/{running}/pause"),
        Step("GET", "/workflow/{running}/status"),
        Step("PUT", "/workflow/{running}/resume"),
        Step("PUT", "/workflow/{completed}/pause"),
        Step("PUT", f"/workflow/{UNKNOWN}/pause"),
    ),
    "terminate": (
        Step("DELETE", "/workflow/{running}?reason=enough"),
        Step("GET", "/workflow/{running}/status"),
        Step("DELETE", "/workflow/{completed}"),
        Step("DELETE", f"/workflow/{UNKNOWN}"),
    ),
    "run again": (
        Step("POST", "/workflow/{running}/retry"),
        Step("POST", "/workflow/{running}/restart"),
        Step("POST", "/workflow/{completed}/retry"),
        Step("DELETE", "/workflow/{running}"),
        Step("POST", "/workflow/{running}/retry"),
        Step("DELETE", "/workflow/{running}"),
        Step("POST", "/workflow/{running}/restart"),
        Step("POST", "/workflow/{completed}/restart"),
        Step("POST", f"/workflow/{UNKNOWN}/retry"),
    ),
    "delete": (
        Step("DELETE", "/workflow/{running}/remove?archiveWorkflow=true"),
        Step("DELETE", "/workflow/{completed}/remove?archiveWorkflow=false"),
        Step("GET", "/workflow/{completed}"),
    ),
    "many": (
        Step("PUT", "/workflow/bulk/pause", ["{running}", "{completed}", UNKNOWN]),
        Step("PUT", "/workflow/bulk/resume", ["{running}", "{completed}"]),
        Step("POST", "/workflow/bulk/retry", ["{running}", "{completed}"]),
        Step("POST", "/workflow/bulk/restart", ["{running}", UNKNOWN]),
        Step("POST", "/workflow/bulk/terminate", ["{running}", "{completed}"]),
        Step("PUT", "/workflow/bulk/pause", [UNKNOWN] * 1001),
    ),
    "search": (
        Step("GET", f"/workflow/search?start=0&size=10&query=workflowId+IN+({UNKNOWN})"),
        Step("GET", f"/workflow/search?start=0&size=10&query=workflowId+{UNKNOWN}"),
    ),
}


class Server:
    """A server with a running and a completed workflow of a definition of its own."""

    def __init__(self, api_url: str, name: str, completed_name: str) -> None:
        self.api_url = api_url
        self.ids = {"name": name}
        for key, started in (("running", name), ("completed", completed_name)):
            body = {"name": started, "version": 1, "correlationId": LABEL}
            self.ids[key] = requests.post(f"{api_url}/workflow", json=body, timeout=60).text

    def answer(self, step: Step) -> requests.Response:
        url, body = self._filled(f"{self.api_url}{step.path}"), self._filled(step.body)
        return requests.request(step.method, url, json=body, timeout=60)

    def _filled(self, value: Any) -> Any:
        match value:
            case str():
                for key, text in self.ids.items():
                    value = value.replace(f"{{{key}}}", text)
                return value
            case list():
                return [self._filled(item) for item in value]
            case dict():
                return {key: self._filled(item) for key, item in value.items()}
        return value


def define(api_url: str, name: str, task: Mapping[str, Any]) -> str:
    definition = {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "tests@example.com", "tasks": [task]}
    requests.put(f"{api_url}/metadata/workflow", json=[definition], timeout=60).raise_for_status()
    return name


@pytest.fixture
def stand_in() -> Iterator[Server]:
    with ConductorStandIn() as conductor:
        conductor.script("waits", Script(after=None))
        conductor.script("ends", Script())
        yield Server(conductor.url, "waits", "ends")


@pytest.fixture
def real(conductor_server: Any) -> Server:
    tag, url = uuid.uuid4().hex[:8], conductor_server.api_url
    wait = {"name": "wait", "taskReferenceName": "wait", "type": "WAIT", "inputParameters": {}}
    end = {"name": "end", "taskReferenceName": "end", "type": "SET_VARIABLE", "inputParameters": {"a": 1}}
    return Server(url, define(url, f"stand_in_waits_{tag}", wait), define(url, f"stand_in_ends_{tag}", end))


def shape(value: Any, like: Any) -> Any:
    """The value's fields and their kinds, as far as the stand-in has them; ids and texts differ from run to run."""
    if isinstance(value, dict) and isinstance(like, dict):
        if all(key.count("-") == 4 for key in like):  # by id
            return sorted(type(item).__name__ for item in value.values())
        return {
            key: shape(value[key], item) if key in value else "missing"
            for key, item in like.items()
            if item is not None
        }
    if isinstance(value, list) and isinstance(like, list):
        return [shape(value[0], like[0])] if value and like else "list"
    return type(value).__name__


def head(answer: requests.Response) -> tuple[Any, ...]:
    """Its status and, of a body, its type."""
    return answer.status_code, answer.headers.get("Content-Type", "").partition(";")[0] if answer.text else ""


@pytest.mark.integration
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_the_stand_in_answers_what_the_server_answers(steps: tuple[Step, ...], stand_in: Server, real: Server) -> None:
    differences = []
    for step in steps:
        ours, theirs = stand_in.answer(step), real.answer(step)
        got, wanted = head(ours), head(theirs)
        if got == wanted and got[1] == "application/json":
            body = ours.json()
            got, wanted = (*got, shape(body, body)), (*wanted, shape(theirs.json(), body))
        if got != wanted:
            differences.append(f"{step}:\n  stand-in {got}\n  server   {wanted}\n  {theirs.text[:600]}")
    assert differences == [], "\n".join(differences)
