"""PyTorch on one thread, so that its bytes never depend on how many there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _OneThread:
    """Keeps PyTorch at one thread per operation while any picture is being computed.

    PyTorch keeps the number both for the process and for each thread, and a new thread starts from
    the process's. So everyone who enters sets it, the first to enter stores what it was, and only
    the last to leave restores it; a thread that left before keeps one, and is not asked again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._n_threads = 1
        self._here = threading.local()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._n_inside and not getattr(self._here, "kept_one", False):
                self._n_threads = torch.get_num_threads()
            self._n_inside += 1
            torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                yield
        finally:
            with self._lock:
                self._n_inside -= 1
                self._here.kept_one = self._n_inside > 0
                if not self._n_inside:
                    torch.set_num_threads(self._n_threads)


one_thread = _OneThread()
