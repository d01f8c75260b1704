"""``airflow conductor worker``, and the same as a console script where providers add no commands to Airflow's."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.dag_runs.worker_spec import WorkerSpec

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

    from airflow_provider_conductor.dag_runs.airflow_client import AirflowSettings

WORKER_HELP = "Run DAGs as tasks of Conductor's workflows (task type airflow_dag)"

AIRFLOW_CONNECTION_ID = "airflow_default"


@dataclass(frozen=True, slots=True)
class Flag:
    """A command-line option; its default is that of ``WorkerSpec`` where it has none here."""

    name: str
    help: str
    kind: type = str
    default: Any = None

    @property
    def dest(self) -> str:
        return self.name.lstrip("-").replace("-", "_")


FLAGS = (
    Flag("--conductor-conn-id", "connection of type conductor", default=DEFAULT_CONNECTION_ID),
    Flag("--airflow-conn-id", "connection of type http to Airflow's REST API", default=AIRFLOW_CONNECTION_ID),
    Flag("--domain", "task domain to poll; by default the queue without one"),
    Flag("--concurrency", "tasks that are handled at the same time", int),
    Flag("--max-active-runs", "DAG runs that may be open, of all workers together, approximately", int),
    Flag("--poll-interval", "seconds between two polls of an empty queue", float),
    Flag("--status-interval", "seconds between two reads of a DAG run, at least", float),
    Flag("--reconcile-interval", "seconds between two searches for runs whose workflow was terminated", float),
)


def conductor_commands() -> list[CLICommand]:
    """The commands for Airflow's command line (the provider info's ``cli``)."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    arguments = [Arg((flag.name,), help=_help(flag), type=flag.kind, default=_default(flag)) for flag in FLAGS]
    worker = ActionCommand("worker", WORKER_HELP, lazy_load_command(f"{__name__}.run_worker"), arguments)
    return [GroupCommand("conductor", "Serve tasks of Conductor", [worker])]


def main(arguments: list[str] | None = None) -> None:
    """``airflow-conductor worker``, for Airflow before 3.2."""
    run_worker(parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """The options of the console script."""
    whole = argparse.ArgumentParser(prog="airflow-conductor", description="Serve tasks of Conductor")
    worker = whole.add_subparsers(required=True, metavar="COMMAND").add_parser("worker", help=WORKER_HELP)
    for flag in FLAGS:
        worker.add_argument(flag.name, help=_help(flag), type=flag.kind, default=_default(flag))
    return whole


def run_worker(args: argparse.Namespace) -> None:
    """Serve tasks until SIGTERM or Ctrl-C; the passes under way are finished.

    Raises:
        SystemExit: a connection or an option cannot be used.
    """
    from airflow_provider_conductor.client.errors import ConductorConfigError
    from airflow_provider_conductor.dag_runs.worker import Worker
    from airflow_provider_conductor.hooks.conductor import ConductorHook

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("airflow_provider_conductor").setLevel(logging.INFO)
    names = {field.name for field in fields(WorkerSpec)}
    try:
        spec = WorkerSpec(**{name: value for name, value in vars(args).items() if name in names})
        conductor, airflow = ConductorHook(args.conductor_conn_id).settings, airflow_settings(args.airflow_conn_id)
    except ConductorConfigError as error:
        raise SystemExit(str(error)) from None

    async def serve() -> None:
        worker = Worker(conductor, airflow, spec)
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, worker.stop)
        await worker.run()

    asyncio.run(serve())


def airflow_settings(conn_id: str) -> AirflowSettings:
    """Where Airflow's REST API is, from an Airflow connection.

    Raises:
        ConductorConfigError: it cannot be used.
    """
    from airflow.providers.common.compat.sdk import BaseHook, mask_secret

    from airflow_provider_conductor.client.errors import ConductorConfigError
    from airflow_provider_conductor.dag_runs.airflow_client import AirflowSettings

    connection = BaseHook.get_connection(conn_id)
    parts = {name: getattr(connection, name) for name in ("host", "schema", "port", "login", "password")}
    try:
        settings = AirflowSettings(parts, connection.extra_dejson)
    except ConductorConfigError as error:
        raise ConductorConfigError(f"connection {conn_id}: {error}") from None
    for secret in settings.secrets:
        mask_secret(secret)
    return settings


def _default(flag: Flag) -> Any:
    own = {field.name: field.default for field in fields(WorkerSpec)}.get(flag.dest, MISSING)
    return flag.default if own is MISSING else own


def _help(flag: Flag) -> str:
    default = _default(flag)
    return flag.help if default is None else f"{flag.help} (default: {default})"
