"""Two threads everywhere, so that tests of threads mean the same on any machine.

And an order in which two processes do not compile the same kernels at the same time: each of them
starts with a half of the tests, and the second half begins with what needs next to none.
"""

import os
import sys

import pytest

# Before anything imports Numba.
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
# Two test processes share the cores: more threads of PyTorch's would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


LAST = {"calib": 1, "network": 2, "training": 3, "cli": 4}


def pytest_collection_modifyitems(items):
    """Folders in their order, but these after the others."""
    items.sort(key=lambda item: LAST.get(item.path.parent.name, 0))


@pytest.fixture(autouse=True)
def one_thread_of_torch():
    """Training sets its own number for the process, and the last bits of a network depend on it."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
