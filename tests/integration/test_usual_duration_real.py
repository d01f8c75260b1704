"""How long runs usually take, as the indexes of real servers have it."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, endpoints
from airflow_provider_conductor.polling.usual_duration import UsualDuration, usual_duration
from tests.integration.abilities import abilities

pytestmark = pytest.mark.integration

RUNS = 24


def runs(client: ConductorClient, name: str) -> list[float]:
    """Run a workflow so often; returns how long each run took, in seconds."""
    nap = {"name": "nap", "taskReferenceName": "nap", "type": "WAIT", "inputParameters": {"duration": "1 seconds"}}
    definition = {"name": name, "version": 1, "ownerEmail": "tests@example.com", "tasks": [nap]}
    body = {"name": name, "workflowDef": definition, "input": {}}
    ids = [client.send(endpoints.start_workflow(body)) for _ in range(RUNS)]
    took = []
    for workflow_id in ids:
        while not (run := client.get_workflow(workflow_id, include_tasks=False)).status.ended:
            time.sleep(0.2)
        took.append((run.end_time - run.data["startTime"]) / 1000)
    return sorted(took)


@pytest.mark.parametrize("server", ["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
@pytest.mark.parametrize("percent", [50, 95])
def test_it_is_that_of_the_runs_themselves(server: str, percent: int, request: pytest.FixtureRequest) -> None:
    api_url: Any = request.getfixturevalue(server).api_url
    name = f"usual_{uuid.uuid4().hex[:8]}"
    with ConductorClient(api_url) as client:
        took = runs(client, name)
        found, last = client.run(usual_duration(name, percent)), UsualDuration(percent, -1, None)
        while found.runs < RUNS and found.runs > last.runs:
            time.sleep(5)  # an index may lag
            found, last = client.run(usual_duration(name, percent)), found
    if "index" not in abilities(api_url):
        assert found == UsualDuration(percent, 0, None)
        return
    assert found.runs == RUNS
    assert found.seconds == pytest.approx(took[math.ceil(RUNS * percent / 100) - 1], abs=1.0)
