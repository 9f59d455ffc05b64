"""Buffers of `flight.kernels.names`."""

from flight.kernels.buffers import SLOT_BITS

N_CONTEXTS = 3
SET_SIZE = N_CONTEXTS + 2
N_WEIGHT_SETS, N_SETS = 2, 1
NUMBERS = N_CONTEXTS << SLOT_BITS  # adaptive probabilities of the numbers
N_SLOTS = NUMBERS + 64
AT, START, BEFORE, LEFT, LONGEST = 0, 1, 2, 3, 4  # of `progress`
