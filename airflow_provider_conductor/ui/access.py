"""Who may see and do what: Airflow's own checks, for every route.

A plugin's routes have no authentication of their own (apache/airflow#72655): each depends on one of these.
"""

from __future__ import annotations

from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity
from airflow.api_fastapi.core_api.security import (
    GetUserDep,
    requires_access_connection,
    requires_access_dag,
    requires_access_view,
)
from airflow.api_fastapi.logging.decorators import action_logging
from fastapi import Depends, Header, HTTPException, Request

READ_PAGES = Depends(requires_access_view(AccessView.WEBSITE))
"""For the pages themselves, which have no data."""

READ_TASK_INSTANCE = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))
READ_TASK_LOGS = Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS))
WRITE_TASK_INSTANCE = Depends(requires_access_dag("PUT", DagAccessEntity.TASK_INSTANCE))
READ_CONNECTIONS = Depends(requires_access_connection("GET"))
AUDIT_LOG = Depends(action_logging("conductor_action"))
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


def may_write(request: Request, user: GetUserDep) -> bool:
    """Whether the user may change task instances of the DAG in the path."""
    try:
        requires_access_dag("PUT", DagAccessEntity.TASK_INSTANCE)(request, user)
    except HTTPException:
        return False
    return True


MayWrite = Annotated[bool, Depends(may_write)]


def readable_dag_ids(user: Any) -> set[str]:
    """The DAGs whose task instances the user may see."""
    from airflow.api_fastapi.app import get_auth_manager

    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))
