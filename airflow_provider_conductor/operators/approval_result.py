"""What follows after an answer: the result, a failure, or tasks downstream that are skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor._airflow import branch_into, skip_downstream
from airflow_provider_conductor._options import MAX_OUTPUT_BYTES
from airflow_provider_conductor.exceptions import (
    ConductorApprovalRejectedError,
    ConductorInvalidStateError,
    ConductorOutputTooLargeError,
)
from airflow_provider_conductor.operators.output import check_storable, json_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.control.approval import Answer
    from airflow_provider_conductor.operators.approval import ConductorApprovalOperator


def follow_answer(
    operator: ConductorApprovalOperator, context: Context, answer: Answer, result: dict[str, Any]
) -> dict[str, Any]:
    """Return the result, or do what the operator says of such an answer.

    =========================================  ==================================================
    the answer, the first case that applies    what follows
    =========================================  ==================================================
    an option with tasks in the mapping        these; what else is downstream is skipped
    a rejection, ``on_reject="fail"``          the task fails, without a retry
    a rejection, ``on_reject="skip"``          what is downstream is skipped
    an approval, but by which option is not    the task fails: the branch is not known
    known, and there is a mapping
    otherwise                                  everything downstream
    =========================================  ==================================================
    """
    about = operator._about(operator.workflow_id)
    name = f"the answer to task {operator.task_reference_name} of workflow {operator.workflow_id}"
    if operator.do_xcom_push:
        check_storable(result, name, "complete the task with another output", **about)
    if (size := json_size(result)) > (limit := MAX_OUTPUT_BYTES.get()):
        raise ConductorOutputTooLargeError(f"{name} has {size:,} bytes, over {limit:,}", **about)
    who = "" if answer.responded_by is None else f" by {answer.responded_by['name']}"
    word = "approved" if answer.approved else "rejected"
    chosen = ", ".join(answer.chosen_options)
    operator.log.info("%s was %s%s in %s: %s", name, word, who, answer.answered_in, chosen or "no option is known")
    branches = _branches(operator.options_mapping, answer)
    if branches:
        _push(operator, context, result)
        branch_into(context, operator.task_id, branches)
        return result
    if answer.approved and operator.options_mapping:
        raise ConductorInvalidStateError(
            f"{name} was given in Conductor, and does not say which option was chosen, so it is not known which branch "
            "to follow. Complete the task with chosen_options in its output. See {url}".format(**about),
            **about,
        )
    if answer.approved or operator.on_reject == "continue":
        return result
    if operator.on_reject == "fail":
        raise ConductorApprovalRejectedError(
            f"task {operator.task_reference_name!r} of workflow {operator.workflow_id} was rejected{who} in "
            f"{answer.answered_in}{f': {chosen}' if chosen else ''}. See {about['url']}",
            answer=result,
            reason=chosen,
            **about,
        )
    _push(operator, context, result)
    skip_downstream(context, operator.task_id, all_of_them=operator.ignore_downstream_trigger_rules)
    return result


def _branches(mapping: Mapping[str, Any], answer: Answer) -> list[str]:
    found: list[str] = []
    for option in answer.chosen_options:
        tasks = mapping.get(option, ())
        found += [tasks] if isinstance(tasks, str) else list(tasks)
    return list(dict.fromkeys(found))


def _push(operator: ConductorApprovalOperator, context: Context, result: dict[str, Any]) -> None:
    """Airflow 3 skips by an exception, which takes the result's place."""
    if operator.do_xcom_push:
        context["ti"].xcom_push(key="return_value", value=result)
