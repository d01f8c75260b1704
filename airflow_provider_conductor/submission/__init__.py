"""Start exactly once. Internal: nothing here is meant for users."""
