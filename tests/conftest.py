"""Before numpy is imported: one BLAS thread, as on board, since the last bit of a product depends on their number."""

import os

from flight.caps import one_blas_thread

os.environ.update(one_blas_thread(dict(os.environ)))
