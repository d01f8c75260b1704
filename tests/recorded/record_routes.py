"""Records the routes of a real Conductor that concern workflows, tasks and definitions.

    python tests/recorded/record_routes.py --url http://localhost:8080 --into conductor-3.32.2

They are read from the server's own OpenAPI document, ``GET /api-docs``, which 3.13 and 3.32 both have, and written
to ``routes/<version>.json``: one ``METHOD /path`` a line, below ``/api``, by resource.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "routes"

RESOURCES = ("workflow-resource", "workflow-bulk-resource", "task-resource", "metadata-resource")


def routes(document: dict[str, Any]) -> dict[str, list[str]]:
    """Resource → its routes, of an OpenAPI document."""
    found: dict[str, list[str]] = {resource: [] for resource in RESOURCES}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for resource in set(operation.get("tags", ())) & set(RESOURCES):
                found[resource].append(f"{method.upper()} {path.removeprefix('/api')}")
    return {resource: sorted(lines, key=lambda line: line.split()[::-1]) for resource, lines in found.items()}


def read_document(url: str) -> dict[str, Any]:
    """The OpenAPI document of a running server."""
    with urllib.request.urlopen(f"{url.rstrip('/')}/api-docs", timeout=600) as answer:
        document: dict[str, Any] = json.load(answer)
        return document


def read(url: str) -> dict[str, list[str]]:
    """The routes of a running server."""
    return routes(read_document(url))


def main() -> None:
    parser = argparse.ArgumentParser(description="Record a server's routes.")
    parser.add_argument("--url", required=True, help="the server's root, for example http://localhost:8080")
    parser.add_argument("--into", required=True, help="name of the file, for example conductor-3.32.2")
    chosen = parser.parse_args()
    (HERE / f"{chosen.into}.json").write_text(json.dumps(read(chosen.url), indent=2) + "\n")


if __name__ == "__main__":
    main()
