"""Payloads that the server keeps outside its database (``/externalstoragelocation``)."""

from __future__ import annotations

from airflow_provider_conductor.client.endpoints.reading import an_object
from airflow_provider_conductor.client.endpoints.writing import given, one_of, parameters
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.models import PayloadType


def get_external_storage_location(storage_path: str, payload_type: PayloadType | str) -> Call[str]:
    """The address a payload can be read from for a moment (seconds), or "" where the server's storage has none.

    A stock server (storage ``dummy``) answers no ``uri``, and an old one nothing at all (seen on 3.32 and 3.13).
    """
    kind = one_of(PayloadType, payload_type)
    resource = "tasks" if kind.startswith("TASK") else "workflow"
    return Call(
        "GET",
        f"/{resource}/externalstoragelocation",
        _uri,
        params=parameters(path=given(storage_path, "the payload's path"), operation="READ", payloadType=kind),
        safe_to_repeat=True,
        once=True,
    )


def _uri(answer: Answer) -> str:
    return str(an_object(answer).get("uri") or "") if answer.content.strip() else ""
