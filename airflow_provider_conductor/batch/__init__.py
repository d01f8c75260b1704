"""Many workflows in one task. Internal: nothing here is meant for users."""
