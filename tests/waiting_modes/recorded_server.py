"""A server that plays recorded answers of a real one, scene after scene, to every workflow it has."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_conductor.testing import ConductorStandIn, Request
from tests.polling.recordings import FOLDER

__all__ = ["AWAY", "GONE", "REFUSED", "RecordedServer", "Scene", "recorded"]

VERSION = "conductor-3.32.2"


@dataclass(frozen=True)
class Scene:
    """What the server answers to ``GET /workflow/{id}``: a recording (with changes), or one of the three below."""

    recording: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    instead: tuple[int, str, bytes] | None = None


AWAY = Scene(instead=(0, "", b""))
REFUSED = Scene(instead=(401, "application/json", b'{"message": "INVALID_TOKEN", "status": 401, "retryable": false}'))
GONE = Scene(instead=(404, "application/json", b'{"message": "No such workflow found by id: it", "retryable": false}'))


def recorded(recording: str, **changes: Any) -> Scene:
    return Scene(recording, changes)


class RecordedServer(ConductorStandIn):
    """``play`` is what each workflow goes through, counted in seconds from its start or its first poll.

    No scene is left out, however late a poll comes: each is answered with at least once before the next one.
    """

    def __init__(self, play: Sequence[tuple[float, Scene]], index: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self.definitions.add("orders")
        self.play = play
        self.index = index
        self.begun: dict[str, float] = {}
        self.playing: dict[str, int] = {}
        self.ended_with: dict[str, dict[str, Any]] = {}
        self.sub_workflows: dict[str, Any] = {}
        self.poll_data: list[Any] = []
        self.logs: list[Any] = []
        for _, scene in play:
            if scene.recording:
                data = _load(scene.recording)
                self.sub_workflows |= data.get("sub_workflows", {})
                self.poll_data += [item for found in data.get("poll_data", {}).values() for item in found]
                self.logs += data.get("logs", [])

    def _route(self, request: Request) -> tuple[int, str, bytes]:
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["workflow", "search"]:
                wanted = request.query["query"].removeprefix("workflowId IN (").rstrip(")")
                results = [dict(item, workflowId=wanted) for item in self.index]
                return _json({"totalHits": len(results), "results": results})
            case "GET", ["workflow", workflow_id] if workflow_id in self.sub_workflows:
                return _json(self.sub_workflows[workflow_id])
            case "GET", ["workflow", workflow_id, *_] if workflow_id in self.workflows:
                scene = self._scene(workflow_id)
                if scene.instead is not None and workflow_id not in self.ended_with:
                    return scene.instead
                self.workflows[workflow_id] = self._now(workflow_id, scene)
            case "POST", ["workflow", "bulk", "search"]:
                scenes = {workflow_id: self._scene(workflow_id) for workflow_id in request.body}
                for workflow_id, scene in scenes.items():
                    if scene is GONE or workflow_id in self.ended_with:
                        continue
                    if scene.instead is not None:
                        return scene.instead
                    self.workflows[workflow_id] = self._now(workflow_id, scene)
                there = [item for item in request.body if scenes[item] is not GONE or item in self.ended_with]
                return super()._route(replace(request, body=there))
            case "GET", ["tasks", "queue", "polldata"]:
                return _json([item for item in self.poll_data if item["queueName"] == request.query["taskType"]])
            case "GET", ["tasks", _, "log"]:
                return _json(self.logs)
        return super()._route(request)

    def end(self, workflow_id: str, status: str, **more: Any) -> None:
        super().end(workflow_id, status, **more)
        workflow = self.workflows[workflow_id]
        self.ended_with[workflow_id] = {key: workflow[key] for key in ("status", "reasonForIncompletion", "endTime")}

    def _scene(self, workflow_id: str) -> Scene:
        """The scene of the next answer about this workflow."""
        now = time.monotonic()
        age = now - self.begun.setdefault(workflow_id, now)
        due = sum(age >= begins for begins, _ in self.play) - 1
        self.playing[workflow_id] = playing = min(due, self.playing.get(workflow_id, -1) + 1)
        return self.play[playing][1]

    def _now(self, workflow_id: str, scene: Scene) -> dict[str, Any]:
        if workflow_id in self.ended_with and scene.instead is not None:
            return self.workflows[workflow_id]
        data = _load(scene.recording)
        by = int(time.time() * 1000) - data["now"]
        known = self.workflows[workflow_id]
        # One play, one workflow: the recordings it is made of were each started at a time of their own.
        same = {key: known[key] for key in ("workflowId", "workflowName", "correlationId", "createTime", "startTime")}
        return (
            _moved(data["workflow"], by)
            | same
            | {"lastRetriedTime": 0}
            | dict(scene.changes)
            | self.ended_with.get(workflow_id, {})
        )

    def status(self, workflow_id: str) -> str:
        return self.workflows[workflow_id]["status"]


def _load(recording: str) -> Any:
    return json.loads((FOLDER / VERSION / f"{recording}.json").read_text())


def _moved(value: Any, by: int) -> Any:
    """The recording as if it had been made ``by`` milliseconds later."""
    if isinstance(value, list):
        return [_moved(item, by) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item + by if key.endswith("Time") and isinstance(item, int) and item > 0 else _moved(item, by)
        for key, item in value.items()
    }


def _json(value: Any) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(value).encode()
