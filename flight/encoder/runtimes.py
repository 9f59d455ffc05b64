"""What runs a network on board: LiteRT, ONNX Runtime or tflite-runtime, in one thread, with nothing allocated later."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.encoder.graph import EncoderError

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
AUTO, NONE = "auto", "none"
LITERT, ONNX_RUNTIME, TFLITE = "litert", "onnxruntime", "tflite"
RUNTIMES = {"tflite": (LITERT, TFLITE), "onnx": (ONNX_RUNTIME,)}  # that can run a format, the best one first
CHOICES = (AUTO, LITERT, ONNX_RUNTIME, TFLITE, NONE)
_PACKAGES = {LITERT: "ai_edge_litert", ONNX_RUNTIME: "onnxruntime", TFLITE: "tflite_runtime"}
_EXTRAS = {LITERT: "litert", ONNX_RUNTIME: "onnx", TFLITE: "tflite"}


class MissingRuntimeError(EncoderError):
    """No runtime for the file is installed, or allowed."""


def installed() -> list[str]:
    """The runtimes that are installed, by name."""
    return [name for name, package in _PACKAGES.items() if find_spec(package) is not None]


def start(form: str, data: bytes, wanted: str = AUTO) -> tuple[Run, str]:
    """A function that runs the network of a file on one chip (1, height, width, bands), and the runtime's name.

    `data` was checked. EncoderError if the runtime refuses it, MissingRuntimeError if there is none for its format.
    """
    if wanted not in CHOICES:
        raise EncoderError(f"encoder.runtime: {wanted!r} is unknown; known are {', '.join(CHOICES)}")
    able = RUNTIMES[form]
    here = installed()
    names = [name for name in able if wanted in (AUTO, name) and name in here]
    if not names:
        extras = " or ".join(f"pip install '.[{_EXTRAS[name]}]'" for name in able) + " in swath's checkout"
        why = f"encoder.runtime is {wanted!r}" if set(able) & set(here) else "none is installed"
        raise MissingRuntimeError(f"format {form} needs {' or '.join(able)}, and {why}: {extras}")
    opened = {LITERT: _litert, ONNX_RUNTIME: _onnxruntime, TFLITE: _tflite}
    failures = list[str]()
    for name in names:
        try:
            return opened[name](data)
        except (ImportError, AttributeError, ValueError, RuntimeError, SystemError) as error:
            failures.append(f"{name}: {error}")  # tflite-runtime fails so where numpy is too new
    raise EncoderError("; ".join(failures))


def _litert(data: bytes) -> tuple[Run, str]:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    return _interpreter(Interpreter, data), f"{LITERT} {version('ai-edge-litert')}"


def _tflite(data: bytes) -> tuple[Run, str]:
    from importlib.metadata import version

    from tflite_runtime.interpreter import Interpreter

    return _interpreter(Interpreter, data), f"{TFLITE} {version('tflite-runtime')}"


def _interpreter(make: Any, data: bytes) -> Run:
    interpreter = make(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def run(chip: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter.set_tensor(into, chip)
        interpreter.invoke()
        grid: NDArray[np.float32] = interpreter.get_tensor(out)
        return grid

    return run


def _onnxruntime(data: bytes) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common ancestor but this
        raise EncoderError(f"ONNX Runtime refuses it: {error}") from error
    into, out = session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def run(chip: NDArray[np.uint8]) -> NDArray[np.float32]:
        grid: NDArray[np.float32] = session.run(out, {into: chip})[0]
        return grid

    return run, f"{ONNX_RUNTIME} {onnxruntime.__version__}"
