"""Measure, print the table, write the JSON.

    python -m benchmarks                     every row
    python -m benchmarks --only get,parse    some
    python -m benchmarks --quick             a tenth of the work, to see that it runs

A Conductor server is started for the run; CONDUCTOR_TEST_SERVER_URL names one that runs already.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import client_speed, execute, growth, imports, latency, parsing, stepwise, sweep, triggerer  # noqa: F401  (they register their rows)
from benchmarks.airflow_here import own_home
from benchmarks.comparison import Comparison
from benchmarks.lab import Lab
from benchmarks.registry import ROWS, Bench
from benchmarks.report import table, write_json

RESULTS = Path("build") / "benchmarks.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where every goal was reached, 1 where one was missed or a row broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help=f"rows, separated by commas: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    parser.add_argument("--json", type=Path, default=RESULTS, help=f"where the figures go ({RESULTS})")
    chosen = parser.parse_args(arguments)
    names = [name.strip() for name in chosen.only.split(",") if name.strip()] or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no row is called {', '.join(unknown)}; there are {', '.join(ROWS)}")
    own_home()
    results: dict[str, list[Comparison]] = {}
    broken: list[str] = []
    with Lab() as lab:
        bench = Bench(lab, quick=chosen.quick)
        for name in names:
            begun = time.monotonic()
            print(f"{name}: {ROWS[name].title} ...", file=sys.stderr, flush=True)
            try:
                results[name] = ROWS[name].measure(bench)
            except Exception as error:  # one row's trouble must not cost the others' figures
                broken.append(f"{name} broke: {type(error).__name__}: {error}")
                print(broken[-1], file=sys.stderr, flush=True)
            else:
                print(f"{name}: done after {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
                # Now, too: whoever stops a long run keeps what it has measured.
                print(table({ROWS[name].title: results[name]}), flush=True)
                write_json(chosen.json, results, quick=chosen.quick)
    print(table({ROWS[name].title: found for name, found in results.items()}))
    write_json(chosen.json, results, quick=chosen.quick)
    missed = [item for found in results.values() for item in found if item.reached is False]
    print(f"\n{len(missed)} goals missed{''.join(f'; {line}' for line in broken)}; figures in {chosen.json}")
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
