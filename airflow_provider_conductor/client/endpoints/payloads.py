"""Payloads that the server keeps outside its database (``/externalstoragelocation``)."""

from __future__ import annotations

from enum import StrEnum

from airflow_provider_conductor.client.call import Answer, Call
from airflow_provider_conductor.client.endpoints import reading, writing


class PayloadType(StrEnum):
    """Which payload of a workflow or task it is."""

    WORKFLOW_INPUT = "WORKFLOW_INPUT"
    WORKFLOW_OUTPUT = "WORKFLOW_OUTPUT"
    TASK_INPUT = "TASK_INPUT"
    TASK_OUTPUT = "TASK_OUTPUT"


def get_external_storage_location(storage_path: str, payload_type: PayloadType) -> Call[str]:
    """The address a payload can be read from for a moment (seconds), or "" where the server's storage has none.

    A stock server (storage ``dummy``) answers no ``uri``, and an old one nothing at all (seen on 3.32 and 3.13).
    """
    resource = "tasks" if payload_type.name.startswith("TASK") else "workflow"
    return Call(
        "GET",
        f"/{resource}/externalstoragelocation",
        _uri,
        params=writing.query(
            path=writing.given(storage_path, "the payload's path"), operation="READ", payloadType=payload_type
        ),
        safe_to_repeat=True,
        once=True,
    )


def _uri(answer: Answer) -> str:
    return str(reading.an_object(answer).get("uri") or "") if answer.content.strip() else ""
