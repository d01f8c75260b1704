"""What recordings must not have: they are made on some machine, and read on all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent

FOLDER = re.compile(r"/[\w.-]+/(?:[\w.-]+/)*(?:tests|airflow_provider_conductor|site-packages)/")

ENCODED = re.compile(r"\bIi9[\w+/=-]{8}")
"""A path in quotes, as Airflow 2 encodes that of a DAG file."""


@pytest.mark.parametrize("path", sorted(HERE.rglob("*.json")), ids=lambda path: str(path.relative_to(HERE)))
def test_a_recording_names_no_folder_of_its_machine(path: Path) -> None:
    text = path.read_text()
    assert not FOLDER.findall(text)
    assert not ENCODED.findall(text)
