"""Builds what flies besides Python: kernels compiled ahead of time, packed and sealed in a flight bundle."""


class BuildError(RuntimeError):
    """Kernels that could not be compiled, linked or accepted; the message says what to do."""
