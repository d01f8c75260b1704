"""The table for people and the JSON for the next run to compare with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.comparison import AtMost, Comparison

__all__ = ["environment", "table", "write_json"]

PACKAGES = ("apache-airflow", "airflow-provider-conductor", "conductor-python", "aiohttp", "requests")

HEADINGS = ("what", "ours", "beside", "theirs", "ratio", "n", "to reach", "reached")


def environment() -> dict[str, Any]:
    """What the figures were taken with; nothing that names this machine or a place on it."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "packages": versions,
    }


def table(results: Mapping[str, Iterable[Comparison]]) -> str:
    """All comparisons, a line each, below their row's title; notes below those."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    titles: dict[int, str] = {}
    notes: dict[int, str] = {}
    for title, comparisons in results.items():
        titles[len(lines)] = title
        for item in comparisons:
            if item.note:
                notes[len(lines)] = item.note
            lines.append(_cells(item))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = []
    for number, line in enumerate(lines):
        if number in titles:
            text += ["", titles[number]]
        cells = (
            cell.ljust(width) if column in (0, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        text.append("  " + "  ".join(cells).rstrip())
        if number in notes:
            text.append(f"      {notes[number]}")
    return "\n".join(text)


def _cells(item: Comparison) -> tuple[str, ...]:
    return (
        item.what,
        f"{_number(item.ours)} {item.unit}",
        item.peer,
        "" if item.theirs is None else f"{_number(item.theirs)} {item.unit}",
        "" if item.ratio is None else f"{_number(item.ratio)}",
        str(item.n),
        _goal(item),
        {True: "yes", False: "NO", None: ""}[item.reached],
    )


def _goal(item: Comparison) -> str:
    if item.goal is None:
        return ""
    sense = "≤" if isinstance(item.goal, AtMost) else "≥"
    match item.goal.judged:
        case "ours":
            return f"{sense} {_number(item.goal.bound)} {item.unit}"
        case "ratio":
            return f"{sense} {_number(item.goal.bound)} x"
        case "inverse ratio":
            return f"{sense} {_number(item.goal.bound)} x less"
        case "difference":
            return f"{sense} {_number(item.goal.bound)} {item.unit} more"


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write_json(file: Path, results: Mapping[str, Iterable[Comparison]], *, quick: bool) -> None:
    """``{environment, quick, rows: {name: [comparison, …]}}``."""
    data = {
        "environment": environment(),
        "quick": quick,
        "rows": {name: [item.to_json() for item in comparisons] for name, comparisons in results.items()},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data, indent=2) + "\n")
