"""Records what a Conductor's look-up by correlation id and its search index answer while workflows start and change.

    python -m tests.recorded.record_lookups --url http://localhost:8080/api --into conductor-3.32.2-postgres

Workflows are started, eight at a time. Each is looked up as soon as its start is answered, and again until it is found
or ``PATIENCE`` has passed; the index is searched for it by the same id. Then each is paused and resumed, and looked up
while that goes on. The counts are written to ``lookups/<version>-<database>.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from airflow_provider_conductor.client import ConductorClient, endpoints
from airflow_provider_conductor.client.endpoints import reading

HERE = Path(__file__).parent / "lookups"

AT_ONCE = 8
PATIENCE = 5.0
"""Seconds in which a workflow may be found late."""


@dataclass(slots=True)
class Lookups:
    """Of ``workflows`` that were asked for, how many were found how.

    Attributes:
        at_once: by the first look-up after the start was answered.
        late: by a later one.
        never: by none within ``PATIENCE``.
        left_out: look-ups, of ``asked_while_written``, that did not find a workflow that had been found before.
        other_case: answered by the server under their correlation id in another case; the client leaves these out.
        indexed_at_once, indexed_late, indexed_never: the same in the search index.
        longest: seconds until the last that was late was found, by look-up or in the index.
    """

    date: str
    workflows: int
    at_once: int = 0
    late: int = 0
    never: int = 0
    asked_while_written: int = 0
    left_out: int = 0
    other_case: int = 0
    indexed_at_once: int = 0
    indexed_late: int = 0
    indexed_never: int = 0
    longest: float = 0.0

    @property
    def answers(self) -> bool:
        """Whether there is a look-up at all."""
        return self.never < self.workflows

    @property
    def sees_case(self) -> bool:
        """Whether the look-up tells ``Monday`` from ``monday``."""
        return self.other_case == 0

    @property
    def has_index(self) -> bool:
        return self.indexed_never < self.workflows


def recorded() -> dict[str, Lookups]:
    """Name of a recording → what was recorded."""
    return {file.stem: Lookups(**json.loads(file.read_text())) for file in sorted(HERE.glob("*.json"))}


def measure(client: ConductorClient, count: int) -> Lookups:
    """Start ``count`` workflows on the server, look for them, and end them."""
    mark = uuid.uuid4().hex[:8]
    name = f"looked_up_{mark}"
    hold = {"name": "hold", "taskReferenceName": "hold", "type": "WAIT"}
    client.register_workflow_defs([{"name": name, "version": 1, "ownerEmail": "a@example.com", "tasks": [hold]}])
    found = Lookups(datetime.now(UTC).date().isoformat(), count)
    counting = threading.Lock()

    def looked_up(label: str) -> bool:
        return bool(client.get_by_correlation_ids(name, [label]).get(label))

    def answered(label: str) -> bool:
        call = endpoints.get_by_correlation_ids(name, [label])
        return bool(client.send(replace(call, parse=reading.an_object)).get(label))

    def searched(label: str) -> bool:
        answer = client.search_workflows(query=f"correlationId IN ({label})")
        return any(item.correlation_id == label for item in answer)

    def until(there: Callable[[], bool]) -> tuple[bool, bool, float]:
        """Whether it is there at once, whether it is there at last, and after how many seconds."""
        begun = time.monotonic()
        first = seen = there()
        while not seen and time.monotonic() - begun < PATIENCE:
            time.sleep(0.05)
            seen = there()
        return first, seen, 0.0 if first or not seen else round(time.monotonic() - begun, 2)

    def one(number: int) -> None:
        label = f"Order-{mark}-{number}"
        workflow_id = client.start_workflow_by_name(name, correlation_id=label)
        first, there, after = until(lambda: looked_up(label))
        first_indexed, indexed, after_indexed = until(lambda: searched(label))
        other_case = answered(label.swapcase())
        if looked_up(label.swapcase()):
            raise AssertionError("the client takes a correlation id in another case for the same")
        while_written = []
        for write in (client.pause_workflow, client.resume_workflow) if there else ():
            with ThreadPoolExecutor(1) as writer:
                written = writer.submit(write, workflow_id)
                while not written.done():
                    while_written.append(looked_up(label))
                written.result()
        client.terminate_workflow(workflow_id)
        with counting:
            found.at_once += first
            found.late += there and not first
            found.never += not there
            found.indexed_at_once += first_indexed
            found.indexed_late += indexed and not first_indexed
            found.indexed_never += not indexed
            found.longest = max(found.longest, after, after_indexed)
            found.other_case += other_case
            found.asked_while_written += len(while_written)
            found.left_out += while_written.count(False)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(count)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True, help="the API's root, for example http://localhost:8080/api")
    parser.add_argument("--into", required=True, help="name of the file, for example conductor-3.32.2-postgres")
    parser.add_argument("--count", type=int, default=200, help="workflows")
    chosen = parser.parse_args()
    with ConductorClient(chosen.url) as client:
        found = measure(client, chosen.count)
    HERE.mkdir(exist_ok=True)
    (HERE / f"{chosen.into}.json").write_text(json.dumps(asdict(found), indent=2) + "\n")
    sys.stderr.write(f"{found}\n")


if __name__ == "__main__":
    main()
