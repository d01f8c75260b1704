"""The worker of the example workflows, made with Conductor's own Python SDK (the `sdk` extra).

    python dev/example_worker.py http://127.0.0.1:8080/api

It ends at Ctrl-C or SIGTERM, and by itself when the process that started it is gone.
"""

# The SDK reads the workers' annotations as types, so they can't be postponed by a __future__ import.

import argparse
import sys
from pathlib import Path
from typing import Any

from conductor.client.context.task_context import TaskInProgress, get_task_context
from conductor.client.worker.worker_task import worker_task

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dev.sdk_worker import work

# ---- order_fulfilment ----

ORDERS = 2
"""How many are worked on at a time: conductor_batch has hundreds, and SQLite refuses writes that come together."""


@worker_task("reserve_stock", thread_count=ORDERS)
def reserve_stock(order_id: str) -> dict[str, Any]:
    return {"shelf": f"B{len(order_id)}"}


@worker_task("charge_card", thread_count=ORDERS)
def charge_card(order_id: str, amount: float) -> dict[str, Any]:
    context = get_task_context()
    context.add_log(f"charging {amount} for order {order_id}")
    if context.get_retry_count() == 0:
        context.add_log("POST /charges: 503")
        raise RuntimeError("card service down")
    return {"charged": amount}


@worker_task("ship_order", thread_count=ORDERS)
def ship_order(order_id: str, shelf: str) -> dict[str, Any]:
    return {"parcel": f"{shelf}-{order_id}"}


# ---- train_model ----


@worker_task("prepare_features", thread_count=4)
def prepare_features(region: str) -> dict[str, Any]:
    return {"rows": {"eu": 48_000, "us": 61_000}.get(region, 10_000)}


@worker_task("fit_model", thread_count=4)
def fit_model(region: str, rows: int) -> dict[str, Any] | TaskInProgress:
    # A real worker would have handed the training to a cluster, and would ask it here.
    if get_task_context().get_poll_count() < 3:
        return TaskInProgress(callback_after_seconds=2)
    return {"model": f"demand-{region}", "accuracy": round(0.9 + rows / 1_000_000, 3)}


# ---- price_change ----


@worker_task("publish_prices")
def publish_prices(catalogue: str, approved_by: str) -> dict[str, Any]:
    return {"published": f"{catalogue}, approved by {approved_by}"}


# ---- warehouse_load ----


@worker_task("extract_orders")
def extract_orders(table: str) -> dict[str, Any]:
    return {"rows": 1_200}


@worker_task("load_table")
def load_table(table: str, rows: int) -> dict[str, Any] | TaskInProgress:
    context = get_task_context()
    # The other job is done after two looks at the latest.
    if context.get_retry_count() == 0 and context.get_poll_count() < 3:
        context.add_log(f"table {table} is locked; asking again in 30 s")
        return TaskInProgress(callback_after_seconds=30)
    return {"rows_loaded": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description="Work for the example workflows.")
    parser.add_argument("api_url", help="the server's API, for example http://127.0.0.1:8080/api")
    chosen = parser.parse_args()
    work(chosen.api_url, poll_interval_ms=500)


if __name__ == "__main__":
    main()
