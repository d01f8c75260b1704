"""How a query as text is read, and what is refused of it."""

from __future__ import annotations

import pytest

from airflow_provider_conductor.client import ConductorInputError
from airflow_provider_conductor.control.conditions import canonical, conditions_of_query

ENDED = "COMPLETED,FAILED,TIMED_OUT,TERMINATED"

READ = {
    "workflowType IN (orders) AND status IN (FAILED)": "workflowType IN (orders) AND status IN (FAILED)",
    "status IN (FAILED, TIMED_OUT)": "status IN (FAILED,TIMED_OUT)",
    "status IN(FAILED ,TIMED_OUT )": "status IN (FAILED,TIMED_OUT)",
    "  status = FAILED  AND   workflowType=orders ": "status IN (FAILED) AND workflowType IN (orders)",
    "status = 'FAILED'": "status IN (FAILED)",
    "correlationId IN (\"a:b\", 'c')": "correlationId IN (a:b,c)",
    "correlationId='day=monday'": "correlationId IN (day=monday)",
    "workflowType = pick and pack": None,
    "workflowType = 'pick and pack'": "workflowType IN (pick and pack)",
    "startTime>1767222000000 AND startTime < 1767222000001": "startTime > 1767222000000 AND startTime < 1767222000001",
    "endTime < 1767222000000": f"endTime < 1767222000000 AND status IN ({ENDED})",
    "endTime < 1767222000000 AND status = FAILED": "endTime < 1767222000000 AND status IN (FAILED)",
    "status IN (RUNNING,FAILED) AND endTime > 1767222000000": (
        f"status IN (RUNNING,FAILED) AND endTime > 1767222000000 AND status IN ({ENDED})"
    ),
}


@pytest.mark.parametrize("query", [query for query, sent in READ.items() if sent])
def test_a_query_is_sent_as_every_index_reads_it(query: str) -> None:
    assert canonical(conditions_of_query(query)) == READ[query]


REFUSED = {
    "workflowType IN (orders)\nAND status IN (FAILED)": "line break",
    "workflowType IN (orders) AND\tstatus IN (FAILED)": "a tab",
    "workflowType IN (orders) and status IN (FAILED)": "write AND in capitals",
    "workflowType in (orders)": "write IN in capitals",
    "workflowType = pick and pack": "write AND in capitals",
    "workflowType IN (orders) OR status IN (FAILED)": "do not read OR",
    "status = FAILED or status = TIMED_OUT": "do not read OR",
    "status != COMPLETED": "the operator !=",
    "status <> COMPLETED": "the operator <>",
    "startTime >= 1767222000000": "the operator >=",
    "status == COMPLETED": "the operator ==",
    "NOT status IN (COMPLETED)": "do not read NOT",
    "status NOT IN (COMPLETED)": "do not read NOT",
    "workflowType LIKE orders": "do not read LIKE",
    "status IS null": "not all servers read IS",
    "startTime BETWEEN 1767222000000 AND 1767222000001": "read BETWEEN",
    "workflowType:orders": "the operator :",
    "workflowType = order*": "wildcard",
    "workflowType IN (orders,inv*)": "wildcard",
    "workflowType = 'pick,pack'": "commas",
    "workflowType = o'clock": "a quote within a value",
    "status IN ('FAILED)": "a quote within a value",
    "workflowType = 'pick AND pack'": "a quote within a value",
    "(status IN (FAILED))": "parentheses",
    "status IN (FAILED": "parentheses",
    "status IN FAILED": r"status IN \(FAILED\)",
    "version = 3": "the field 'version'",
    "stauts IN (FAILED)": "the field 'stauts'",
    "Status IN (FAILED)": "the field 'Status'",
    "parentWorkflowId = abc": "the field 'parentWorkflowId'",
    "status = failed": "write FAILED",
    "status IN (FAILED, GONE)": "'GONE' is not a workflow status",
    "status > FAILED": "status is a text",
    "startTime = 1767222000000": "startTime is a time",
    "startTime IN (1767222000000)": "startTime is a time",
    "startTime > 1767222000": "milliseconds",
    "startTime > 2026-01-01": "milliseconds",
    "startTime > now": "milliseconds",
    "status IN ()": "nothing next to",
    "status IN (FAILED,)": "nothing next to",
    "status =": "nothing next to",
    "status = FAILED AND": "nothing next to",
    "AND status = FAILED": "nothing next to",
    "status = FAILED AND AND workflowType = orders": "nothing next to",
    "status = ''": "an empty value",
    "everything": "not a condition",
    "": "must not be empty",
    "  ": "must not be empty",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_servers_would_drop_or_read_otherwise_is_refused_by_name(query: str) -> None:
    with pytest.raises(ConductorInputError, match=REFUSED[query]):
        conditions_of_query(query)
