"""Who may see and do what: Airflow's own checks, for every route.

A plugin's routes have no authentication of their own (apache/airflow#72655): each depends on one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import (
    GetUserDep,
    requires_access_connection,
    requires_access_dag,
    requires_access_view,
)
from airflow.api_fastapi.logging.decorators import action_logging
from fastapi import Depends, Header, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod

READ_PAGES = Depends(requires_access_view(AccessView.WEBSITE))
"""For the pages themselves, which have no data."""

READ_TASK_INSTANCE = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))
READ_TASK_LOGS = Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS))
WRITE_TASK_INSTANCE = Depends(requires_access_dag("PUT", DagAccessEntity.TASK_INSTANCE))
READ_CONNECTIONS = Depends(requires_access_connection("GET"))

_log_action = action_logging("conductor_action")


async def _log_and_commit(request: Request, session: SessionDep, user: GetUserDep) -> None:
    await _log_action(request, session, user)
    # Airflow 3.1 leaves it to the end of the request, where a refusal undoes it.
    await run_in_threadpool(session.commit)


AUDIT_LOG = Depends(_log_and_commit)
"""Writes the user, the task instance and the request into Airflow's audit log, whether or not it succeeds."""

REQUESTED_BY = "airflow-ui"


def same_page(
    x_conductor_request: Annotated[str | None, Header()] = None, sec_fetch_site: Annotated[str | None, Header()] = None
) -> None:
    """Refuse what another site makes a browser send: such a request has Airflow's cookie, but not this header.

    Raises:
        HTTPException: 403.
    """
    if x_conductor_request != REQUESTED_BY or sec_fetch_site not in (None, "same-origin"):
        raise HTTPException(
            403, f"the request does not come from Airflow's UI: it needs the header X-Conductor-Request: {REQUESTED_BY}"
        )


SAME_PAGE = Depends(same_page)


def _may(method: ResourceMethod, entity: DagAccessEntity) -> Callable[[Request, BaseUser], bool]:
    """A dependency: whether the user has this right for the DAG in the path, or for any DAG if there is none."""

    def may(request: Request, user: GetUserDep) -> bool:
        try:
            requires_access_dag(method, entity)(request, user)
        except HTTPException:
            return False
        return True

    return may


MayWrite = Annotated[bool, Depends(_may("PUT", DagAccessEntity.TASK_INSTANCE))]
MayReadTaskInstances = Annotated[bool, Depends(_may("GET", DagAccessEntity.TASK_INSTANCE))]
MayReadLogs = Annotated[bool, Depends(_may("GET", DagAccessEntity.TASK_LOGS))]


def readable_dag_ids(user: BaseUser) -> set[str]:
    """The DAGs that the user may see."""
    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def readable_connection_ids(user: BaseUser, conn_ids: Iterable[str]) -> set[str]:
    """Those of the connections that the user may see; all of them before Airflow 3.2, which has no rights for each."""
    authorized = getattr(get_auth_manager(), "get_authorized_connections", None)
    return set(conn_ids) & set(authorized(user=user, method="GET")) if authorized else set(conn_ids)
