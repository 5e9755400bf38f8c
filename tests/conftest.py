"""Two threads everywhere, so that tests of threads mean the same on any machine."""

import os

# Before anything imports Numba.
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
