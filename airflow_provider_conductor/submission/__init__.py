"""Start exactly once. Internal: nothing here is meant for users.

``start_once`` makes the start, ``lookup`` finds earlier workflows, ``earlier_workflows`` decides what to do about them,
and ``rerun`` retries or restarts a failed one.
"""
