"""The rows run, on a real server; what they measure is for `make bench` to say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.registry import ROWS

ROOT = Path(__file__).resolve().parent.parent.parent

CHEAP = ("get", "parse", "requests", "begins", "cpu")

FIELDS = {"what", "unit", "ours", "peer", "theirs", "n", "goal", "note", "ratio", "judged", "reached"}


@pytest.mark.integration
def test_cheap_rows_fill_table_and_json(conductor_server, tmp_path):
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", ",".join(CHEAP), "--json", str(file)],
        cwd=ROOT,
        env={**os.environ, "CONDUCTOR_TEST_SERVER_URL": conductor_server.url},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert "broke" not in done.stderr, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert list(rows) == list(CHEAP)
    for name in CHEAP:
        assert ROWS[name].title in done.stdout
        for comparison in rows[name]:
            assert set(comparison) == FIELDS
            assert comparison["what"] in done.stdout
            assert comparison["n"] >= 1
            assert comparison["ours"] > 0
    missed = [item for found in rows.values() for item in found if item["reached"] is False]
    assert done.returncode == (1 if missed else 0)
    assert f"{len(missed)} goals missed" in done.stdout


def test_an_unknown_row_is_refused_by_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--only", "get,speed"])
    assert stopped.value.code == 2
    assert "no row is called speed" in capsys.readouterr().err
