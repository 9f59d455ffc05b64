"""Prints what two machines compare of encoders: a digest of what each file says of known chips, and of noise.

python -m tests.build.encoder_bits FILE...
"""

import hashlib
import platform
import sys
from pathlib import Path

import numpy as np

from flight.encoder import open_encoder
from flight.encoder.file import known_chips
from flight.known_answers import drawn

NOISE_CHIPS = 4


def main():
    for name in sys.argv[1:]:
        path = Path(name)
        encoder = open_encoder(path.read_bytes())
        shape = encoder.chip_shape
        noise = drawn(NOISE_CHIPS * int(np.prod(shape)), 3, 256).astype(np.uint8).reshape(-1, *shape)
        grids = encoder(np.concatenate([known_chips(shape), noise]))
        print(f"{platform.machine()}, {encoder.runtime}", file=sys.stderr)
        print(path.name, hashlib.sha256(grids.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
