"""Parallel loops: which threading layer Numba takes.

OpenMP comes first: Numba would rather have TBB, but Open3D brings one that is too old for it, and
which of the two is loaded first must not decide.
"""

from __future__ import annotations

import numba

setattr(numba.config, "THREADING_LAYER_PRIORITY", ["omp", "workqueue", "tbb"])  # noqa: B010

prange = numba.prange


def use_threads(threads: int) -> None:
    """Set how many threads the parallel kernels take, at most as many as Numba has."""
    import cv2

    limit = int(getattr(numba.config, "NUMBA_NUM_THREADS"))  # noqa: B009
    numba.set_num_threads(min(threads, limit))
    cv2.setNumThreads(1)


__all__ = ["prange", "use_threads"]
