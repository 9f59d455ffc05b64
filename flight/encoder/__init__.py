"""Frozen encoders on board: files that are checked before a runtime sees them, and the runtimes that may be there.

file.py        what a file says of itself, and everything that is checked of it
graph.py       a network as its operators and shapes, whatever the format; what may be in one
flatbuffer.py  TFLite files; protobuf.py: ONNX files: strict readers of what this software's exporters write
runtimes.py    LiteRT, ONNX Runtime and tflite-runtime behind one function
encoder.py     chips in, embedding grids out, after known answers
"""

from flight.encoder.encoder import Encoder, open_encoder
from flight.encoder.file import EncoderFile
from flight.encoder.graph import EncoderError
from flight.encoder.runtimes import MissingRuntimeError

__all__ = ["Encoder", "EncoderError", "EncoderFile", "MissingRuntimeError", "open_encoder"]
