"""Buffers of `flight.kernels.overlaps`."""

from flight.kernels.buffers import FOUND, SLOT_BITS

N_CONTEXTS, N_SETS = 8, 3
SET_SIZE = N_CONTEXTS + 2
BY_RATIO, BY_MASK = 64, 96  # the first weight sets that are chosen by what is likely, and by which cells agree
N_WEIGHT_SETS = BY_MASK + 256
MORE = N_CONTEXTS << SLOT_BITS  # adaptive probabilities that are not mixed: of an overlap that is no candidate,
COUNT, NEAR, KEPT = MORE + 32, MORE + 96, MORE + 96 + FOUND  # of its count, its place, and of shares that are kept
N_SLOTS = KEPT + 16
MAX_CANDIDATES = 32
NEXT_ROW, NEXT_COL, STRIDE, PAD, LEVELS, LAST, IS_PATCH = 0, 1, 2, 3, 4, 5, 6  # of `progress`
