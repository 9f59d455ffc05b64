"""Every decoder takes what it packs, and refuses what mutations make of it as it says it does."""

import random

import pytest

from tests.fuzz.targets import TARGETS

MUTATIONS = 60


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with a few bits flipped, bytes replaced, cut out, doubled or appended."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(5):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del out[at : at + rng.randint(1, 8)]
            case 3:
                out[at:at] = out[at : at + rng.randint(1, 8)]
            case _:
                out += rng.randbytes(rng.randint(1, 4))
    return bytes(out)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_packed_is_decoded_and_what_is_damaged_is_at_most_refused(name: str) -> None:
    target, rng = TARGETS[name], random.Random(name)
    for seed in target.seeds():
        target.of(seed)
        for _ in range(MUTATIONS):
            target.decode(mutated(seed, rng))
