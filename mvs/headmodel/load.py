"""Head models by file: which kind it is, its content says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mvs.headmodel.flame import load_flame
from mvs.headmodel.flame_files import is_flame
from mvs.headmodel.ict import load_ict
from mvs.headmodel.ict_folder import NEUTRAL
from mvs.headmodel.types import HeadModel

HEAD_MODELS: dict[str, Callable[[Path], HeadModel]] = {"ict": load_ict, "flame": load_flame}
# What FLAME's model is called in the folders that it comes in.
_FLAME_NAMES = ("generic_model.pkl", "flame2023.pkl", "flame2023_no_jaw.pkl")
_REMEDY = "give ICT-FaceKit (its folder FaceXModel, or packed) or FLAME (pkl or npz)"


def load_head_model(path: Path) -> HeadModel:
    """Read a head model.

    Args:
        path: ICT-FaceKit: its folder ``FaceXModel`` or the npz of ``mvs headmodel pack``; or
            FLAME: its pickle, which is not run, an npz of the same arrays, or its folder.

    Raises:
        ValueError: if there is no such file, or it holds no head model.
    """
    kind, found = which_model(path)
    return HEAD_MODELS[kind](found)


def which_model(path: Path) -> tuple[str, Path]:
    """Name in ``HEAD_MODELS`` of the model that a path holds, and where in it.

    Raises:
        ValueError: if there is no such file, or a folder holds no model.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file; {_REMEDY}")
    if path.is_dir():
        for name in _FLAME_NAMES:
            if (path / name).is_file():
                return "flame", path / name
        if not (path / f"{NEUTRAL}.obj").is_file():
            raise ValueError(f"{path}: holds no head model; {_REMEDY}")
        return "ict", path
    return ("flame" if is_flame(path) else "ict"), path
