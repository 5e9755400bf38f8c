"""Two threads everywhere, so that tests of threads mean the same on any machine."""

import os

# Before anything imports Numba.
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
# Two test processes share the cores: more threads of PyTorch's would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
