"""Buffers of `flight.kernels.composition`."""

# `plan`: sum of a row, rows, classes, groups, columns of the lists of neighbours, whether there is a base
LEVELS, ROWS, CLASSES, GROUPS, NEIGHBOURS, BASED = 0, 1, 2, 3, 4, 5
PLAN_SIZE = 6

EXPERTS = 4  # at most
INPUTS = EXPERTS + 2  # and one that learns, and a constant
STRIDE = INPUTS + 1  # of a weight set, which starts with a count that is not used here
NODES, CLASS_KINDS, MEAN_KINDS, ROW_KINDS = 24, 12, 16, 64
SETS = NODES * (CLASS_KINDS + MEAN_KINDS + ROW_KINDS)  # weight sets, for rows without and with a base each
SLOTS = NODES * CLASS_KINDS * MEAN_KINDS  # adaptive probabilities, likewise
CHANGED = 2 * SLOTS  # adaptive probabilities that a row has changed
PRESENT = CHANGED + 16  # that it is there
RUNS = PRESENT + 16  # of runs
COUNTS_SIZE = RUNS + 192
