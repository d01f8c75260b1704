"""The code blocks of README and docs, and how each says what it is.

============================  ==========================================================
above the block               meaning
============================  ==========================================================
nothing                       it is run; a DAG in it is run by Airflow, too
``<!-- parsed: why -->``      it is run, but its DAG is only read: it needs what a test lacks
``<!-- not run: why -->``     it is only compiled
============================  ==========================================================
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks"]

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

FENCE = re.compile(
    r"(?:^ *<!-- (?P<marker>[\w ]+): (?P<why>[^>]+) -->\n+)?^(?P<indent> *)```(?P<language>\S*)[^\n]*\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
DAG = re.compile(r"^\s*(with DAG\(|@dag\b|\w+ = DAG\()", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    language: str
    code: str
    marker: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def has_dag(self) -> bool:
        return self.language == "python" and DAG.search(self.code) is not None


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, found.start("indent")) + 1,
            language=found["language"],
            code=textwrap.dedent(found["code"]),
            marker=found["marker"] or "",
        )
        for found in FENCE.finditer(text)
    ]
