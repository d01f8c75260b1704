"""Records the metrics as Airflow's own loggers send them, of the Airflow that this Python has.

    .venv/airflow-3.3/bin/python -m tests.recorded.record_metrics

Two waits are reported to a StatsD and an OpenTelemetry receiver on loopback; what arrives is written to
``metrics/airflow-<version>.json``, without values and without what tells one process from another.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from airflow import __version__ as airflow_version

from tests.monitoring.receivers import BACKENDS, received

HERE = Path(__file__).parent / "metrics"


def main() -> None:
    arrived = {}
    for backend in BACKENDS:
        with tempfile.TemporaryDirectory() as home:
            arrived[backend] = [
                {"name": item.name, "type": item.type, "tags": dict(item.tags)}
                for item in sorted(received(backend, Path(home)))
            ]
    HERE.mkdir(exist_ok=True)
    (HERE / f"airflow-{airflow_version}.json").write_text(json.dumps(arrived, indent=1) + "\n")


if __name__ == "__main__":
    main()
