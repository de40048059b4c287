"""Load scripts. Each measures its baseline in the same run; docs/benchmarks.md holds the last results."""
