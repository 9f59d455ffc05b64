"""Buffers of `flight.kernels.bytewise`."""

from flight.kernels.buffers import SLOT_BITS

N_CONTEXTS, N_WEIGHT_SETS = 6, 4
SET_SIZE = N_CONTEXTS + 2
BY_PLACE = 4 << SLOT_BITS  # four contexts are hashed, two have slots of their own
BY_NOTHING = BY_PLACE + 8 * 256
N_SLOTS = BY_NOTHING + 256
