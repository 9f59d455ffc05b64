"""Packages that only some exports need, asked for by name where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from ground.encoders.frozen import FrozenError

_EXTRAS = {"ai_edge_litert": "litert", "flatbuffers": "litert", "onnxruntime": "onnx", "onnx": "export"}


def module(name: str) -> Any:
    """A module of an optional package; FrozenError says which extra brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise FrozenError(
            f"needs {package}: pip install '.[{_EXTRAS[package]}]' in swath's checkout ({error})"
        ) from None
