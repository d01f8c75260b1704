"""The real server's answers, as ``tests/recorded/record.py`` wrote them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_conductor.client import PollData, Workflow
from airflow_provider_conductor.polling.progress import Progress, assess

FOLDER = Path(__file__).parent.parent / "recorded"


@dataclass(frozen=True)
class Recording:
    workflow: Workflow
    now: int
    sub_workflows: dict[str, Workflow] = field(default_factory=dict)
    poll_data: dict[str, list[PollData]] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)

    def assess(self) -> Progress:
        return assess(self.workflow, self.now, sub_workflows=self.sub_workflows, poll_data=self.poll_data)


def recordings() -> list[str]:
    return sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("conductor-*/*.json"))


def load(name: str) -> Recording:
    data = json.loads((FOLDER / name).read_text())
    return Recording(
        Workflow(data["workflow"]),
        data["now"],
        {key: Workflow(value) for key, value in data.get("sub_workflows", {}).items()},
        {key: [PollData(one) for one in value] for key, value in data.get("poll_data", {}).items()},
        [line["log"] for line in data.get("logs", [])],
    )
