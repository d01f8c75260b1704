"""Records what a Conductor answers to starts while its database is away, or busy with other writes.

    .venv/production/bin/python -m tests.recorded.record_database_trouble sqlite|postgres|mysql [--version 3.32.2]

On SQLite with many connections, many clients start, end and delete workflows at the same time. On the others a few do,
while the database is restarted twice. Each kind of answer is written to ``database_trouble/<version>-<backend>.json``,
with the number of workflows that the starts so answered had left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import requests

from dev.conductor_server import NEWEST, ConductorServer

HERE = Path(__file__).parent / "database_trouble"

NAME = "troubled"
SOON = {"duration": "1 seconds"}
MANY_CONNECTIONS = {"spring.datasource.hikari.maximum-pool-size": "50"}
CLIENTS = {"sqlite": 50, "postgres": 12, "mysql": 12}
RESTARTS = {"postgres": (signal.SIGINT, signal.SIGQUIT), "mysql": (signal.SIGTERM, signal.SIGKILL)}
"""A shutdown that does not wait for clients, and one that is like a crash."""


def recorded() -> list[dict[str, Any]]:
    """What was recorded: ``status``, ``body`` and ``workflows`` of each kind of answer."""
    return [answer for file in sorted(HERE.glob("*.json")) for answer in json.loads(file.read_text())]


class Clients:
    """Clients of one server that start workflows until ``stop`` is set."""

    def __init__(self, api_url: str, count: int) -> None:
        self.api_url, self.stop = api_url, threading.Event()
        self.refused: dict[str, dict[str, Any]] = {}
        """Correlation id of a start → its answer."""
        self.threads = [threading.Thread(target=self.work) for _ in range(count)]

    def work(self) -> None:
        with requests.Session() as session:
            while not self.stop.is_set():
                try:
                    self.start_one(session)
                except requests.RequestException:
                    time.sleep(1)

    def start_one(self, session: requests.Session) -> None:
        mark = str(uuid.uuid4())
        body = {"name": NAME, "version": 1, "correlationId": mark, "input": {}}
        answer = session.post(f"{self.api_url}/workflow", json=body, timeout=120)
        if answer.status_code >= 500:
            body = {key: value for key, value in answer.json().items() if key != "instance"}  # the machine's name
            self.refused[mark] = {"status": answer.status_code, "body": body}
        elif random.random() < 0.5:
            session.delete(f"{self.api_url}/workflow/{answer.text}", timeout=120)
            session.delete(f"{self.api_url}/workflow/{answer.text}/remove?archiveWorkflow=false", timeout=120)

    def workflows(self, mark: str) -> int:
        """How many workflows there are of the start with this correlation id."""
        found = requests.get(f"{self.api_url}/workflow/{NAME}/correlated/{mark}?includeClosed=true", timeout=120)
        found.raise_for_status()
        return len(found.json())


def main() -> None:
    from dev.production.backend import conductor_on  # its databases are not installed where the tests run

    parser = argparse.ArgumentParser(description="What a Conductor answers while its database is in trouble.")
    parser.add_argument("backend", choices=CLIENTS)
    parser.add_argument("--version", default=NEWEST)
    parser.add_argument("--seconds", type=float, default=150)
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if chosen.backend == "sqlite":
            server, database = stack.enter_context(ConductorServer(chosen.version, settings=MANY_CONNECTIONS)), None
        else:
            server, database = stack.enter_context(conductor_on(chosen.backend, chosen.version))
        branches = [
            [{"name": "w", "taskReferenceName": f"w{i}", "type": "WAIT", "inputParameters": SOON}] for i in range(4)
        ]
        tasks = [
            {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": branches},
            {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": [f"w{i}" for i in range(4)]},
        ]
        definition = {"name": NAME, "version": 1, "ownerEmail": "a@example.com", "tasks": tasks, "timeoutSeconds": 0}
        requests.put(f"{server.api_url}/metadata/workflow", json=[definition], timeout=120).raise_for_status()
        clients = Clients(server.api_url, CLIENTS[chosen.backend])
        for thread in clients.threads:
            thread.start()
        if database is None:
            time.sleep(chosen.seconds)
        else:
            for number in RESTARTS[chosen.backend]:
                time.sleep(chosen.seconds / 3)
                database.stop(number)
                time.sleep(6)
                database.start()
            time.sleep(chosen.seconds / 3)
        clients.stop.set()
        for thread in clients.threads:
            thread.join()
        kinds: dict[str, dict[str, Any]] = {}
        for mark, answer in clients.refused.items():
            without_times = re.sub(r"\d+", "", json.dumps(answer["body"]))
            kind = kinds.setdefault(f"{answer['status']} {without_times}", {**answer, "starts": 0, "workflows": 0})
            kind["starts"] += 1
            kind["workflows"] += clients.workflows(mark)
    HERE.mkdir(exist_ok=True)
    file = HERE / f"{chosen.version}-{chosen.backend}.json"
    file.write_text(json.dumps(list(kinds.values()), indent=2) + "\n")
    print(file.read_text())  # noqa: T201


if __name__ == "__main__":
    main()
