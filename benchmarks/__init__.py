"""What the provider costs, measured beside what its peers cost; `python -m benchmarks` prints the table."""
