"""Head models by file: which kind it is, its content says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mvs.headmodel.flame import load_flame
from mvs.headmodel.flame_files import is_flame
from mvs.headmodel.ict import load_ict
from mvs.headmodel.types import HeadModel

HEAD_MODELS: dict[str, Callable[[Path], HeadModel]] = {"ict": load_ict, "flame": load_flame}


def load_head_model(path: Path) -> HeadModel:
    """Read a head model.

    Args:
        path: ICT-FaceKit (its folder FaceXModel, or packed as npz) or FLAME (pickle or npz).

    Raises:
        ValueError: if there is no such file, or it holds no head model.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file; give ICT-FaceKit (folder or npz) or FLAME (pkl)")
    kind = "ict" if path.is_dir() or (path.suffix == ".npz" and not is_flame(path)) else "flame"
    return HEAD_MODELS[kind](path)
