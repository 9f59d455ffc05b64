"""What decoders' kernels work in: sizes and places. Where compiled kernels run, the source of kernels is not loaded.

A buffer of adaptive probabilities holds `N_SLOTS`. One of weights holds `N_WEIGHT_SETS` sets, of which a decision is
mixed by `N_SETS`, each of `N_CONTEXTS` probabilities; a set takes `SET_SIZE` (see `flight.kernels.coding.code_mixed`).
"""

SLOT_BITS = 16  # adaptive probabilities of each context that is hashed: 2 ** SLOT_BITS
FOUND = 12  # municipalities that `flight.kernels.grid.nearby` finds at most
