"""The tests on the oldest and the newest Airflow, side by side.

    python3 dev/run_tests.py [PYTEST ARGUMENT ...]

Pytest's closing lines, the newest Airflow's last, end what this prints.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dev.environments import NEWEST_CELL, OLDEST_CELL, Environment
from dev.shared_servers import sharing_servers
from dev.suites import WITHOUT_AIRFLOW, Run, end_all, passed, start

# Most of the tests' time is spent waiting, so there are more processes than a small machine has cores. A file stays
# in one process: its module fixtures are made once.
AT_THE_SAME_TIME = {OLDEST_CELL: 2, NEWEST_CELL: 3}


def arguments_of(environment: Environment, selection: Sequence[str]) -> list[str]:
    ignored = [f"--ignore-glob={glob}" for glob in WITHOUT_AIRFLOW] if environment is OLDEST_CELL else []
    # Processes cost more than they save when it is a few tests.
    parallel = ["-n", str(AT_THE_SAME_TIME[environment]), "--dist", "loadfile", "--no-loadscope-reorder"]
    return [*ignored, *(selection or [*parallel, "--durations=25"])]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(selection: Sequence[str]) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # A shell starts what runs in its background deaf to Ctrl-C; pytest needs to hear it to tidy up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runs: list[Run] = []
    with sharing_servers() as servers:
        try:
            for cell in (OLDEST_CELL, NEWEST_CELL):
                label = f"{cell.name.removeprefix('airflow-'):>4} | "
                runs.append(start(cell, arguments_of(cell, selection), servers=servers, say=say, label=label))
            results = [run.result() for run in runs]
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        finally:
            end_all(runs)
    for run, result in zip(runs, results, strict=True):
        say(run.closing or f"{run.name}: pytest exited with {result}, without a closing line")
    return 0 if passed(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
