"""A process that opens one encoder file and encodes chips, and says how long that took and how much memory; run by
`benchmarks.encoders`, so that no other code is counted. It imports what a flight process needs for it and nothing else.
"""

import sys
from pathlib import Path

import numpy as np

from flight.clock import wall_s
from flight.encoder.encoder import open_encoder


def main(path: str, runtime: str, repeats: str) -> None:
    """Print the runtime, the median milliseconds a chip, and the megabytes that opening and running it added."""
    before = _resident_kb("VmRSS")
    encoder = open_encoder(Path(path).read_bytes(), runtime)
    chips = np.random.Generator(np.random.Philox(0)).integers(0, 256, (1, *encoder.chip_shape), np.uint8)
    times = []
    for _ in range(int(repeats)):
        start = wall_s()
        encoder(chips)
        times.append(wall_s() - start)
    print(encoder.runtime)
    print(1e3 * float(np.median(times)))
    print((_resident_kb("VmHWM") - before) / 1e3)


def _resident_kb(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field)))


if __name__ == "__main__":
    main(*sys.argv[1:4])
