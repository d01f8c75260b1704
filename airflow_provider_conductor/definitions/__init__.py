"""Definitions: files, differences, registration, dry run. Internal: nothing here is meant for users."""
