"""The rules, one module for each family: pure functions from a context to findings."""
