"""What a function under ``@task.conductor`` may return, and what of a start it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_conductor.client.endpoints import start_body
from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.starting.arguments import ARGUMENTS

__all__ = ["read_returned"]

NAMES = {wire: argument for argument, wire in ARGUMENTS.items()}
"""Field of a start request → the operator's argument."""

MARK = "workflow_input"
"""The key by which a dict of start arguments is told from an input."""


def read_returned(returned: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The operator's arguments it gives, and what else of a request, by the server's names.

    ===============================================  ==========================================================
    returned                                         read as
    ===============================================  ==========================================================
    a dict without the key ``workflow_input``        the input
    a dict with it                                   start arguments, as the operator calls them, and no others
    a ``StartWorkflowRequest``, ours or the SDK's    the request; what is not set there is the decorator's
    anything else                                    refused
    ===============================================  ==========================================================

    Raises:
        ConductorInputError: it cannot be used; the message says what was expected.
    """
    if isinstance(returned, Mapping):
        if MARK not in returned:
            return {"workflow_input": dict(returned)}, {}
        unknown = sorted(str(key) for key in returned if key not in ARGUMENTS)
        if unknown:
            raise ConductorInputError(
                f"a dict with the key {MARK!r} is read as start arguments, and {', '.join(map(repr, unknown))} is "
                f"none of {', '.join(ARGUMENTS)}; an input with such a key goes into {MARK!r} as a whole"
            )
        if not isinstance(returned[MARK] or {}, Mapping):
            raise ConductorInputError(f"{MARK} must be a dict, not {type(returned[MARK]).__name__}")
        return {name: value for name, value in returned.items() if value is not None}, {}
    if not _is_request(returned):
        raise ConductorInputError(
            f"it must be a dict (the workflow's input, or start arguments with {MARK!r}) or a StartWorkflowRequest, "
            f"not {type(returned).__name__}"
        )
    body = {key: value for key, value in start_body(returned).items() if value is not None}
    if "idempotencyKey" not in body:
        # The SDK's request says FAIL unasked; to this task's own key that would make a lost answer an error.
        body.pop("idempotencyStrategy", None)
    arguments = {NAMES[key]: value for key, value in body.items() if key in NAMES}
    return arguments, {key: value for key, value in body.items() if key not in NAMES}


def _is_request(value: Any) -> bool:
    """Ours, or the SDK's, which need not be installed."""
    return type(value).__name__ == "StartWorkflowRequest" and (
        hasattr(value, "to_json") or hasattr(value, "swagger_types")
    )
