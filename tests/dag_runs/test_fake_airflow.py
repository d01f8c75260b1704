"""The fake answers as the real Airflows whose answers are recorded: status, the client's error, and fields."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.dag_runs.airflow_api import AirflowApi
from airflow_provider_conductor.dag_runs.request import DagRunRequest, XCom
from tests.dag_runs.fake_airflow import FakeAirflow
from tests.recorded.record_airflow_api import Recording, recorded, refused

RECORDED = recorded()

RUN = "conductor__t1"


def kind(answer: dict[str, Any]) -> tuple[str, int, str | None]:
    return answer["request"], answer["status"], answer["error"]


def check(answers: dict[str, Any], real: dict[str, Any]) -> None:
    assert {name: kind(answer) for name, answer in answers.items()} == {name: kind(real[name]) for name in answers}
    for name, answer in answers.items():
        if answer["status"] < 400:
            assert answer["body"].keys() <= real[name]["body"].keys(), name


@pytest.mark.parametrize("version", sorted(RECORDED))
async def test_it_answers_as_recorded(version: str) -> None:
    api = AirflowApi(1 if version.startswith("2.") else 2)
    fake = FakeAirflow(api.version)
    try:
        async with Recording(fake.settings()) as client:
            check(await refused(client), RECORDED[version])
            fake.dags |= {"step_counts": False, "step_fails": False}
            for dag_id, state in (("step_counts", "success"), ("step_fails", "failed")):
                await client.send(api.trigger(DagRunRequest(dag_id), f"{RUN}-{dag_id}"))
                fake.end(f"{RUN}-{dag_id}", state)
            fake.xcoms = {("step_counts", "count", "return_value", -1): {"count": 2}}
            fake.failed_tasks = [{"task_id": "load", "state": "failed", "map_index": -1, "try_number": 1}]
            calls = {
                "succeeded": api.dag_run("step_counts", f"{RUN}-step_counts"),
                "xcom": api.xcom("step_counts", f"{RUN}-step_counts", XCom("count")),
                "failed_tasks": api.failed_tasks("step_fails", f"{RUN}-step_fails"),
            }
            check({name: await client.answer_to(call, RUN) for name, call in calls.items()}, RECORDED[version])
        for name, fields in {
            "no_credentials": {"login": None, "password": None},
            "wrong_password": {"password": "wrong"},
        }.items():
            async with Recording(fake.settings(**fields)) as client:
                await client.find_api()
                check({name: await client.answer_to(api.dag_run("step_paused", "any"), RUN)}, RECORDED[version])
    finally:
        fake.close()


@pytest.mark.parametrize("version", sorted(RECORDED))
def test_what_the_worker_relies_on(version: str) -> None:
    real = RECORDED[version]
    assert [real[name]["status"] for name in ("triggered", "triggered_again", "date_is_taken")] == [200, 409, 409]
    assert real["xcom"]["body"]["value"] == {"count": 2}
    assert real["xcom_of_map_index"]["body"]["value"] == 6
    tasks = real["failed_tasks"]["body"]["task_instances"]
    assert [(task["task_id"], task["state"]) for task in tasks] == [("load", "failed"), ("show", "upstream_failed")]
    assert real["failed"]["body"]["state"] == "failed"
