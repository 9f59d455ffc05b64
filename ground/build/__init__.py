"""Builds what flies besides Python: kernels compiled ahead of time, packed and sealed in a flight bundle."""
