"""What Conductor has stored of its workflows, from its database itself: no look-up of its API has to be right."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import psycopg
import redis

from dev.production.databases import DatabaseServer, MariaDbServer, PostgresServer, RedisServer

__all__ = ["NOT_NOW", "stored_workflows"]

NOT_NOW = (psycopg.Error, redis.RedisError, subprocess.CalledProcessError)
"""While the database restarts."""


def stored_workflows(server: DatabaseServer) -> list[dict[str, Any]]:
    """Each workflow as Conductor stores it, with ``workflowName``, ``correlationId``, ``status`` and ``endTime``.

    Raises:
        NOT_NOW: the database does not answer.
    """
    match server:
        case PostgresServer():
            stored = [row[0] for row in server.rows("select json_data from workflow")]
        case MariaDbServer():
            client = [str(server.base / "bin" / "mariadb"), "--no-defaults", "--batch", "--raw", "--skip-column-names"]
            address = {"host": "127.0.0.1", "port": server.port, "user": "conductor", "database": "conductor"}
            options = [f"--{key}={value}" for key, value in address.items()]
            query = "--execute=select json_data from workflow"
            stored = subprocess.run([*client, *options, query], check=True, capture_output=True).stdout.splitlines()
        case RedisServer():
            with redis.Redis(port=server.port) as connection:
                keys = list(connection.scan_iter("conductor.*.WORKFLOW.*", count=1000))
                stored = [found for found in connection.mget(keys) if found] if keys else []
        case _:
            raise TypeError(f"nothing is known of {type(server).__name__}")
    return [json.loads(item) for item in stored]
