"""The page's example of a test is a test that passes, on a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dev.examples import DAGS
from tests.docs.test_docs import ROOT, blocks

pytestmark = pytest.mark.integration


def test_the_dry_run_of_a_definition(conductor_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_CONDUCTOR_DEFAULT", json.dumps({"conn_type": "conductor", "host": conductor_server.api_url})
    )
    (tmp_path / "dags").symlink_to(DAGS)
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in blocks(ROOT / "docs" / "definitions.md") if "def test_" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test()
