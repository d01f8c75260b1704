"""Assets that are updated when a workflow ends, to schedule DAGs by (Airflow 3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlencode

from airflow_provider_conductor.client.statuses import WorkflowStatus
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID

if TYPE_CHECKING:
    from airflow.sdk import Asset

__all__ = ["conductor_workflow_asset"]

SCHEME = "conductor"


def conductor_workflow_asset(
    workflow_name: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    workflow_name_prefix: str | None = None,
    status: str | Sequence[str] = WorkflowStatus.COMPLETED,
    correlation_id: str | None = None,
    include_sub_workflows: bool = False,
    conductor_conn_id: str = DEFAULT_CONNECTION_ID,
    poll_interval: float | timedelta | None = None,
    index_lag: float | timedelta | None = None,
    catch_up: float | timedelta | None = None,
    max_output_bytes: int | None = None,
) -> Asset:
    """An asset that each end of a workflow updates.

    ::

        orders = conductor_workflow_asset("orders")

        with DAG("book_orders", schedule=orders):
            ...

    Each event has the workflow's id, status, times, link and output under ``extra["payload"]``.

    Args:
        workflow_name: the workflow's name, or a list of names.
        name: the asset's name, which its URI then has, too; None: its URI,
            ``conductor://<connection id>/workflow/<workflow name>``.
        workflow_name_prefix: in place of ``workflow_name``, how the names begin.
        status: the status, or a list of those, that a workflow must end with.
        correlation_id: only workflows with this one.
        include_sub_workflows: whether the end of a sub-workflow counts.
        conductor_conn_id: id of the connection.
        poll_interval, index_lag, catch_up, max_output_bytes: as for
            :class:`~airflow_provider_conductor.triggers.workflow_event.ConductorWorkflowEventTrigger`.

    Raises:
        ConductorInputError: an argument that cannot be used, or an Airflow before 3.0.
    """
    from airflow_provider_conductor.triggers.workflow_event import ConductorWorkflowEventTrigger

    given: dict[str, Any] = {
        "poll_interval": poll_interval,
        "index_lag": index_lag,
        "catch_up": catch_up,
        "max_output_bytes": max_output_bytes,
    }
    uri = _uri(
        conductor_conn_id, workflow_name, workflow_name_prefix, status, correlation_id, include_sub_workflows, name
    )
    trigger = ConductorWorkflowEventTrigger(
        workflow_name=workflow_name,
        workflow_name_prefix=workflow_name_prefix,
        status=status,
        correlation_id=correlation_id,
        include_sub_workflows=include_sub_workflows,
        conductor_conn_id=conductor_conn_id,
        # Two assets must not share a trigger: their positions differ, and Airflow's state store wants one asset.
        asset_name=name or uri,
        **{key: value for key, value in given.items() if value is not None},
    )
    from airflow.sdk import Asset, AssetWatcher

    return Asset(name or uri, uri, watchers=[AssetWatcher(name="workflow ends", trigger=trigger)])


def _uri(
    conn_id: str,
    names: str | Sequence[str] | None,
    prefix: str | None,
    status: str | Sequence[str],
    correlation_id: str | None,
    sub_workflows: bool,
    name: str | None,
) -> str:
    """What is watched, and for which name; the usual is left out.

    Of two assets with one URI and two names, Airflow activates only the one that it reads first (3.3.2,
    ``models/asset.py``, ``AssetActive``): the DAGs of the other never run.
    """
    several = [names] if isinstance(names, str) else list(names or ())
    path = ",".join(quote(one, safe="") for one in several) or f"{quote(prefix or '', safe='')}*"
    statuses = [status] if isinstance(status, str) else sorted(status)
    query = {
        "correlation_id": correlation_id,
        "name": name,
        "status": None if statuses == [WorkflowStatus.COMPLETED] else ",".join(statuses),
        "sub_workflows": "true" if sub_workflows else None,
    }
    given = {key: value for key, value in query.items() if value is not None}
    return f"{SCHEME}://{quote(conn_id, safe='')}/workflow/{path}" + (f"?{urlencode(given)}" if given else "")


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check an asset's URI, which Airflow has normalised (entry ``asset-uris`` of the provider).

    Raises:
        ValueError: it is not ``conductor://<connection id>/workflow/<workflow name>``.
    """
    parts = uri.path.split("/")
    if not uri.netloc or len(parts) != 3 or parts[1] != "workflow" or not parts[2]:
        raise ValueError(
            f"a Conductor asset's URI is conductor://<connection id>/workflow/<workflow name>, not {uri.geturl()}"
        )
    return uri
