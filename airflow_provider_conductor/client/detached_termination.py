"""Terminating workflows in a process that outlives a killed task.

Airflow 3 sends SIGKILL five seconds after SIGTERM, to the process group of the task (3.3; before it, to its process).
What could not be terminated by then goes to a process in a session of its own. It gets the connection's settings and
the ids by its standard input, in memory where the system has that, so neither is seen in the list of processes; it ends
by itself when all is done, and after :data:`LIVES` seconds in any case.

What it cannot outlive is its container: with Airflow's KubernetesExecutor the pod ends with the task.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import IO

from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.text import Logger

HELPED_AFTER = 2.5
"""Seconds that a killed task tries by itself: half of what Airflow 3 gives it."""

LIVES = 120
"""Seconds after which the process ends, done or not. Long enough for a server that restarts, and shorter than the usual
``retry_delay``, so that it does not terminate what the next try reuses."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two attempts while the server cannot be reached."""


def terminate_detached(settings: ConductorSettings, workflow_ids: Sequence[str], reason: str, log: Logger) -> None:
    """Leave these to a process of their own. Where none can be started, that is logged."""
    if not workflow_ids:
        return
    given = {item.name: getattr(settings, item.name) for item in fields(settings)}
    given["headers"] = dict(settings.headers)
    order = {"settings": given, "workflow_ids": list(workflow_ids), "reason": reason}
    count = len(workflow_ids)
    try:
        with _in_memory(json.dumps(order).encode()) as source:
            subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ).wait()  # it continues in a child process, which needs no waiting for
    except OSError as error:
        log.error("Could not start a process to terminate %d workflows; they may still run: %s", count, error)
    else:
        log.warning(
            "A process that outlives this task continues to terminate %d workflows, for at most %d s", count, LIVES
        )


def _in_memory(content: bytes) -> IO[bytes]:
    """A file with this content, which has no name that others could open."""
    in_memory = hasattr(os, "memfd_create")  # not on macOS
    file: IO[bytes] = os.fdopen(os.memfd_create("order"), "w+b") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file


def end_all(settings: ConductorSettings, workflow_ids: Sequence[str], reason: str, *, until: float) -> list[str]:
    """Terminate what runs, again and again while the server cannot be reached; returns what is left.

    Args:
        until: the moment on the monotonic clock at which it gives up.
    """
    from airflow_provider_conductor.client.aio import AsyncConductorClient
    from airflow_provider_conductor.client.errors import ConductorAuthError, ConductorConfigError, ConductorError
    from airflow_provider_conductor.client.termination import terminate_concurrently

    left = dict.fromkeys(workflow_ids)

    def done(ids: Sequence[str]) -> None:
        for workflow_id in ids:
            left.pop(workflow_id, None)

    async def end() -> None:
        async with AsyncConductorClient(settings) as client:
            await terminate_concurrently(client.run, list(left), reason, on_done=done)

    pause = FIRST_PAUSE
    while left:
        try:
            asyncio.run(end())
        except (ConductorAuthError, ConductorConfigError):
            break
        except ConductorError:
            if time.monotonic() + pause >= until:
                break
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
    return list(left)


def main() -> None:
    order = json.load(sys.stdin)
    if os.fork():  # the starter stops waiting, and the child is not among its children
        os._exit(0)
    signal.alarm(LIVES)
    end_all(
        ConductorSettings(**order["settings"]), order["workflow_ids"], order["reason"], until=time.monotonic() + LIVES
    )


if __name__ == "__main__":
    main()
