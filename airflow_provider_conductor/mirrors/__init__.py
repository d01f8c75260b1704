"""A workflow's steps as tasks: the plan of a definition, and how a step ended. Internal: nothing is meant for users."""
