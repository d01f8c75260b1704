"""See the provider at work: a real Conductor server, a real worker, the example DAGs run by Airflow.

    python dev/demo.py [--keep]

Needs the provider with its `sdk` extra, Maven and Java. Leaves nothing behind, or, with `--keep`, the server until
Ctrl-C, to look around in its UI. The exit status is 0 when every DAG run succeeded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dev.circle import show_circle  # noqa: E402
from dev.conductor_server import ConductorServer, ServerError  # noqa: E402
from dev.examples import airflow_environment, register_definitions, running, running_worker  # noqa: E402

STORIES = {
    "order_pipeline": "Execute, deferred. charge_card fails once; Conductor tries it again after its retry delay.",
    "nightly_model_training": "Start, then a sensor for each workflow.",
    "order_steps": "The workflow of order_pipeline as a task group: a task for each of its steps.",
    "stop_and_retry": "Terminate a workflow that hangs, and run it on from where it stopped.",
}

STARTED = re.compile(r"\[DAG TEST\] starting task_id=(?P<task_id>\S+) map_index=(?P<map_index>-?\d+)")


def main() -> int:
    parser = argparse.ArgumentParser(description="See the provider at work on a real Conductor server.")
    parser.add_argument("--keep", action="store_true", help="keep the server afterwards, until Ctrl-C")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    folder = Path(tempfile.mkdtemp(prefix="conductor-demo-"))
    log_path = folder / "demo.log"
    failed = False
    try:
        with log_path.open("w") as log:
            failed = not demo(folder / "airflow", log, keep=keep)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    except (ServerError, subprocess.SubprocessError, RuntimeError, OSError) as error:
        failed = True
        print(f"\n{error}", file=sys.stderr)
    finally:
        shutil.rmtree(folder / "airflow" if failed else folder, ignore_errors=True)
    if failed:
        print(f"What Airflow, the worker and the server said is in {log_path}", file=sys.stderr)
    return 1 if failed else 0


def demo(home: Path, log: IO[str], *, keep: bool) -> bool:
    begun = time.monotonic()
    home.mkdir()
    with contextlib.ExitStack() as stack:
        step("Airflow makes its database and Conductor starts (the first time, its server is downloaded) ...")
        server = ConductorServer()
        migrate = stack.enter_context(
            running(["airflow", "db", "migrate"], log=log, env=airflow_environment(home, "http://127.0.0.1"))
        )
        stack.enter_context(server)
        stack.callback(lambda: log.write(server.log()))
        step(f"Conductor {server.version}: {server.url}")
        names = register_definitions(server.api_url)
        step(f"Definitions registered: {', '.join(names)}")
        pid = stack.enter_context(running_worker(server.api_url, log=log))
        step(f"Worker (Conductor's Python SDK): process {pid}")
        if migrate.wait(timeout=180):
            raise RuntimeError("`airflow db migrate` failed")

        env = airflow_environment(home, server.url) | {"AIRFLOW__LOGGING__JSON_LOGS": "True"}
        command = [sys.executable, str(ROOT / "dev" / "run_dags.py"), *STORIES]
        with running(command, log=log, env=env, stdout=subprocess.PIPE) as airflow:
            succeeded = Narrator(log).follow(airflow)
        if succeeded:
            print("\nThe circle: a workflow's end starts a DAG, whose workflow waits for another DAG.", flush=True)
            step("  Airflow's scheduler, triggerer and API server start ...")
            whole = stack.enter_context((home.parent / "airflow.log").open("w"))
            succeeded = show_circle(home / "circle", server, whole, lambda line: step(f"  {line}"))

        print()
        step(f"{'Done' if succeeded else 'FAILED'}, {time.monotonic() - begun:.0f} s after the start.")
        if keep and succeeded:
            step(f"Conductor's UI: {server.url} . Ctrl-C ends it.")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(1)
    return succeeded


@dataclass
class Narrator:
    """Shows of Airflow's log what the provider says, and what became of the tasks; the rest is only kept."""

    log: IO[str]
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    stories: Iterator[tuple[str, str]] = field(default_factory=lambda: iter(STORIES.items()))
    waiting_for_story: bool = True

    def follow(self, airflow: subprocess.Popen[str]) -> bool:
        assert airflow.stdout is not None
        for line in airflow.stdout:
            self.log.write(line)
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict):
                    self.tell(record)
        airflow.wait()
        return airflow.returncode == 0 and len(self.outcomes) == len(STORIES)

    def tell(self, record: dict[str, Any]) -> None:
        if "outcome" in record:
            self.conclude(record["outcome"])
            return
        event, logger = str(record.get("event")), str(record.get("logger"))
        started = STARTED.match(event)
        if started:
            if self.waiting_for_story:
                self.waiting_for_story = False
                dag_id, story = next(self.stories)
                print(f"\n{dag_id}: {story}", flush=True)
            index = int(started["map_index"])
            print(f"  {started['task_id']}{'' if index < 0 else f'[{index}]'}", flush=True)
        elif event.startswith("[DAG TEST] running trigger"):
            self.said(record, "deferred: from here on the triggerer waits, and no worker slot is held")
        elif "airflow_provider_conductor." in logger:
            self.said(record, event)
        elif record.get("exception") and record.get("level") in ("error", "critical"):
            causes = [f"{cause['exc_type']}: {cause['exc_value']}" for cause in record["exception"]]
            self.said(record, "\n".join([event, *causes]))

    def said(self, record: dict[str, Any], text: str) -> None:
        moment = datetime.fromisoformat(record["timestamp"]).astimezone()
        level = str(record.get("level", "info"))
        first, *more = text.splitlines() or [""]
        print(f"    {moment:%H:%M:%S}  {'' if level == 'info' else level.upper() + ': '}{first}")
        if more:
            print(textwrap.indent(textwrap.dedent("\n".join(more)), " " * 14))
        sys.stdout.flush()

    def conclude(self, outcome: dict[str, Any]) -> None:
        self.outcomes.append(outcome)
        self.waiting_for_story = True
        for task in outcome["tasks"]:
            index = "" if task["map_index"] < 0 else f"[{task['map_index']}]"
            result = "" if task["result"] is None else f" -> {json.dumps(task['result'])}"
            print(f"  = {task['task_id']}{index}: {task['state']}{result}")
        sys.stdout.flush()


def step(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
