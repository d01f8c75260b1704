"""Control workflows that run, and complete their tasks. Internal: nothing here is meant for users."""
