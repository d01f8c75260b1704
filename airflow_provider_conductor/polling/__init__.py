"""Know why a workflow is RUNNING, and when to poll it next. Internal: nothing here is meant for users."""
