"""The memory that a configuration can come to need, part by part, before anything is allocated.

Sums are of the largest that each limit allows, with the copies that are made on the way. They bound what the link, the
camera and a learner can make flight allocate; what Python itself and the libraries take was measured.
"""

from __future__ import annotations

from flight.config import ConfigError, EncoderConfig, FlightConfig
from flight.ingest import MAX_HEADER_BYTES

MIB = 1 << 20
PROCESS_BYTES = 52 * MIB  # Python, numpy, pyzmq and this software, after start-up (39 MiB) and with its heap's holes
_PACKET_BYTES = 1024  # a packet in a queue, with what Python adds
_REGION_BYTES = 20  # a cell: four overlaps, int32 and uint8
_TRAINING_BYTES = 24 * MIB  # what a slice of training or of chips holds for a while
_MUNICIPALITY_BYTES = {"moments": 2616, "swath": 2072, "hybrid": 2072}  # statistics of one; others keep a reservoir
_RESERVOIR_CHIPS = {"downconv": 256, "qkm": 256}
_RESERVOIR_BYTES = 2 * MIB
_SEEING_BYTES = 38 * MIB  # more, with an encoder: 4,096 chips instead of 512, and their features
_SEEING = ("swath", "hybrid")
_RUNTIME_BYTES = 16 * MIB  # libraries of LiteRT and what it allocates beside weights and activations


def parts(config: FlightConfig) -> dict[str, int]:
    """The sum [bytes], part by part."""
    link, executive = config.link, config.executive
    chip_bytes = executive.max_chip_bytes + MAX_HEADER_BYTES
    reservoir = _RESERVOIR_CHIPS.get(config.learner.name, 0) * executive.max_chip_bytes
    statistics = _MUNICIPALITY_BYTES.get(config.learner.name, 0) * link.max_municipalities
    seeing = _SEEING_BYTES if config.encoder.runtime != "none" and config.learner.name in _SEEING else 0
    return {
        "process": PROCESS_BYTES,
        "packets": 2 * link.max_queued_packets * _PACKET_BYTES,
        "transfers": 2 * 2 * link.max_open_transfers * link.max_file_bytes,  # both ways, and in a state being saved
        "region": 2 * _REGION_BYTES * link.max_region_chips,  # in use, and on its way in
        "labels": 3 * 4 * link.max_label_cells,
        "chips": 3 * executive.queue_chips * chip_bytes,  # in the queue, on the bus, and in a slice
        "encoder": 0 if config.encoder.runtime == "none" else _encoder(config.encoder),
        "learner": _TRAINING_BYTES + _RESERVOIR_BYTES + reservoir + statistics + seeing,
    }


def _encoder(encoder: EncoderConfig) -> int:
    """Two of them, one on trial: the file, a copy of its weights in the runtime's layout, and activations."""
    return _RUNTIME_BYTES + 2 * (2 * encoder.max_bytes + encoder.max_activation_bytes)


def check(config: FlightConfig) -> None:
    """ConfigError, with the sum part by part, if a configuration may come to need more than its memory cap."""
    found = parts(config)
    total, cap = sum(found.values()), config.caps.memory_bytes
    if total > cap:
        listed = ", ".join(f"{name} {size / MIB:.1f}" for name, size in found.items())
        raise ConfigError(
            f"caps.memory_bytes: the configuration may need {total / MIB:.1f} MiB, allowed are {cap / MIB:.1f}: "
            f"{listed} MiB; lower the limits that these follow from, or raise the cap"
        )
