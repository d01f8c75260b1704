"""A real Airflow in which a DAG has run as far as it gets, and the real workflows that its tasks wait for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_conductor.client import ConductorClient
from tests.faults.proxy import FaultProxy
from tests.faults.real_airflow import RealAirflow, real_airflow
from tests.ui_browser.shop import BUTTONS, Shop

__all__ = ["STEPS", "OpenShop", "open_shop"]

DAGS = Path(__file__).parent / "dags"

USERS = ("admin", "viewer")
"""Names of users and, in Airflow's simple auth manager, of their roles."""

STATES = {
    **{("without_workflow", -1): "success", ("completed", -1): "success", ("failed", -1): "failed"},
    # It waits on a worker, the others that wait do so in the triggerer.
    ("on_a_worker", -1): "running",
    **{(task_id, -1): "deferred" for task_id in ("stuck", "many", "foreign", "relayed", "batch")},
    **{("mapped", map_index): "deferred" for map_index in (0, 1)},
    **{
        ("press", map_index): "failed" if verb in ("retry", "restart", "rerun") else "deferred"
        for map_index, verb in enumerate(BUTTONS)
    },
}
"""Task and map index → the state in which the tests want the task instance of the DAG ``shop``."""

STEPS = {
    **{f"fulfil_order.{ref}": "success" for ref in ("start", "reserve_stock", "pack_box", "charge_card")},
    "fulfil_order.send_invoice": "success",
    "fulfil_order.book_courier": "deferred",
    "fulfil_order.take_to_post": "skipped",
    **{f"fulfil_order.{ref}": None for ref in ("notify_customer", "finish")},
}
"""Task → the same of the DAG ``orders``."""


@dataclass(frozen=True)
class OpenShop:
    """An Airflow, the client of a Conductor, and what is there for them to do.

    Attributes:
        relay: what the connection `conductor_relayed` has between itself and the same Conductor.
    """

    airflow: RealAirflow
    client: ConductorClient
    shop: Shop
    relay: FaultProxy

    def run_id(self, dag_id: str) -> str:
        """The one run of a DAG."""
        return str(self.airflow.query("select run_id from dag_run where dag_id = ?", dag_id)[0][0])

    def workflow_id(self, task_id: str, map_index: int = -1) -> str:
        """The workflow of a task instance."""
        sql = "select value from xcom where task_id = ? and map_index = ? and key = 'workflow_id'"
        return str(json.loads(self.airflow.query(sql, task_id, map_index)[0][0]))

    def state(self, task_id: str, map_index: int = -1) -> str:
        """The state of a task instance in Airflow; "" while the database is locked."""
        sql = "select state from task_instance where task_id = ? and map_index = ?"
        return str(next(iter(self.airflow.query(sql, task_id, map_index)), ("",))[0])

    def password(self, user: str) -> str:
        """The password that Airflow has made for one of its users."""
        file = self.airflow.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text())[user])

    def audit_log(self, map_index: int) -> list[dict[str, Any]]:
        """What Airflow's audit log has of the buttons that were pressed for an instance of `press`."""
        entries = self.airflow.call("GET", "/api/v2/eventLogs?dag_id=shop&task_id=press&limit=100")["event_logs"]
        pressed = [entry | json.loads(entry["extra"]) for entry in entries if entry["event"] == "conductor_action"]
        return [entry for entry in pressed if entry["map_index"] == str(map_index)]


@contextmanager
def open_shop(api_url: str, home: Path) -> Iterator[OpenShop]:
    """Start Airflow, and let its DAG run.

    Args:
        api_url: of the Conductor.
        home: Airflow's home.
    """
    prefix = f"ui_{uuid.uuid4().hex[:8]}"
    relay = FaultProxy(api_url)
    # A busy machine takes long to read thousands of tasks.
    extra = {"read_timeout": 300, "identity_prefix": prefix}
    env = {
        "SHOP": prefix,
        **{
            f"AIRFLOW_CONN_CONDUCTOR_{name}": json.dumps({"conn_type": "conductor", "host": host, "extra": extra})
            for name, host in {"DEFAULT": api_url, "RELAYED": relay.api_url}.items()
        },
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{user}" for user in USERS),
        "AIRFLOW__CORE__PARALLELISM": "8",
        # Nothing dies here: however late a busy machine is, nobody is taken for dead.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "900",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "900",
    }
    with ExitStack() as stack, ConductorClient(api_url) as client:
        stack.callback(relay.stop)
        shop = Shop(client, prefix)
        shop.define()
        with shop.worker(), real_airflow(home, api_url, **env) as airflow:

            def has_run() -> bool:
                found = airflow.query("select task_id, map_index, state from task_instance")
                wanted = STATES | {(task_id, -1): state for task_id, state in STEPS.items()}
                return {(task_id, map_index): state for task_id, map_index, state in found} == wanted

            airflow.wait_until(has_run, 900)
            yield OpenShop(airflow, client, shop, relay)
