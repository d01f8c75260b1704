from __future__ import annotations

from importlib.util import find_spec

HAS_POLICIES = find_spec("airflow.sdk") is not None and find_spec("airflow.sdk.definitions.retry_policy") is not None

collect_ignore = ["test_without_policies.py" if HAS_POLICIES else "test_policy.py"]
