"""Buffers of `flight.kernels.membership`."""

from flight.kernels.buffers import FOUND, SLOT_BITS

N_CONTEXTS, N_SETS = 6, 2
SET_SIZE = N_CONTEXTS + 2
BY_RUN = 448  # the first weight set that is chosen by the lengths of runs
N_WEIGHT_SETS = BY_RUN + 112
EMPTY = N_CONTEXTS << SLOT_BITS  # adaptive probabilities that are not mixed: of a wide empty area,
NOBODY, NEW, NEAR = EMPTY + 4, EMPTY + 5, EMPTY + 8  # and of what is asked after the candidates
N_SLOTS = NEAR + FOUND
SEEN, LAST, NEXT_ROW, NEXT_COL, STRIDE, PAD = 0, 1, 2, 3, 4, 5  # of `progress`
