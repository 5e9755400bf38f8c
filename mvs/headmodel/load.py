"""Head models by file: which kind it is, its content says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mvs.headmodel.ict import load_ict
from mvs.headmodel.types import HeadModel

HEAD_MODELS: dict[str, Callable[[Path], HeadModel]] = {"ict": load_ict}


def load_head_model(path: Path) -> HeadModel:
    """Read a head model.

    Args:
        path: packed ICT-FaceKit (npz).

    Raises:
        ValueError: if there is no such file, or it holds no head model.
    """
    return HEAD_MODELS["ict"](path)
