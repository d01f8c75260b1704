"""What a function under ``@task.conductor`` may return, and what of a start it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.models import StartWorkflowRequest
from airflow_provider_conductor.client.plain import model_fields
from airflow_provider_conductor.submission.start_arguments import ARGUMENTS, read_request

__all__ = ["read_returned"]

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
    if not isinstance(returned, StartWorkflowRequest) and model_fields(returned) is None:
        raise ConductorInputError(
            f"it must be a dict (the workflow's input, or start arguments with {MARK!r}) or a StartWorkflowRequest, "
            f"not {type(returned).__name__}"
        )
    return read_request(returned)
