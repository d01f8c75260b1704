"""Everything that is installed for development is pinned by version and hash, and by no index's address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent.parent / "requirements").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_requirement_has_a_hash(file: Path) -> None:
    lines = [line for line in file.read_text().replace("\\\n", " ").splitlines() if not line.startswith("#")]
    assert lines
    assert not [line for line in lines if not re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)]
    assert "://" not in "".join(lines)
