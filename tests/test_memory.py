import sys
from pathlib import Path

import numpy as np
import pytest

from mvs.memory import return_memory


def _resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps what was freed")
def test_what_was_freed_goes_back_though_the_last_block_is_in_use():
    # Of a size that the allocator does not ask the system for one by one.
    blocks = [np.ones(100_000, np.uint8) for _ in range(1500)]
    last = blocks[-1]
    del blocks
    before = _resident_mb()
    return_memory()
    assert _resident_mb() < before - 100
    assert last.all()
