"""The plugin that adds Conductor's pages to Airflow's UI (Airflow 3.1 and later; older versions ignore it).

Every process of Airflow loads it, so it imports nothing: the pages' application is made in the API server, when the
first request for it arrives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from airflow.providers.common.compat.sdk import AirflowPlugin

PREFIX = "/conductor"
"""Where the pages are, below the API server's own address."""

ICON = "conductor/assets/icon.svg"

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Pages:
    """The ASGI application of the pages, which is made at the first request."""

    def __init__(self) -> None:
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            from airflow_provider_conductor.ui.app import make_app

            self._app = make_app()
        await self._app(scope, receive, send)


def _view(destination: str, route: str, href: str) -> dict[str, Any]:
    # Relative, so that it is below the address that Airflow has behind a proxy.
    return {
        "name": "Conductor",
        "destination": destination,
        "url_route": route,
        "href": f"conductor/{href}",
        "icon": ICON,
    }


_TASK = "task?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"


_APPS = [{"app": Pages(), "url_prefix": PREFIX, "name": "Conductor"}]
_VIEWS = [
    _view("task_instance", "conductor_task", _TASK),
    _view("dag_run", "conductor_run", "run?dag_id={DAG_ID}&run_id={RUN_ID}"),
    _view("nav", "conductor", "health") | {"category": "browse"},
]


class ConductorPlugin(AirflowPlugin):
    """Tabs on the task instance and on the DAG run, and a page in the menu."""

    name = "conductor"
    fastapi_apps = _APPS
    external_views = _VIEWS
