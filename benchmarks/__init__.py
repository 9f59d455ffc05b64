"""Benchmarks that a user can run: ``python -m benchmarks NAME``."""
