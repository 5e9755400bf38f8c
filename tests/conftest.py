"""Two threads everywhere, so that tests of threads mean the same on any machine."""

import os
import sys

import pytest

# Before anything imports Numba.
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
# Two test processes share the cores: more threads of PyTorch's would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def one_thread_of_torch():
    """Training sets its own number for the process, and the last bits of a network depend on it."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
