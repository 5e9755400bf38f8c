"""One file of a model that comes as many, or that takes long to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvs.headmodel.arrays import write_arrays
from mvs.headmodel.flame import load_flame
from mvs.headmodel.flame_files import read_flame
from mvs.headmodel.ict import read_ict
from mvs.headmodel.ict_files import write_packed
from mvs.headmodel.ict_folder import read_folder
from mvs.headmodel.load import which_model


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        kind: of the model, a name in ``HEAD_MODELS``.
        n_vertices: of the model.
        n_modes: of identity and of expression together.
        error_m: the farthest that a coordinate of a mode is from what was read, metres.
    """

    kind: str
    n_vertices: int
    n_modes: int
    error_m: float


def pack_model(source: Path, output: Path, progress: Callable[[], None] | None = None) -> Packed:
    """Write a model as one npz file, which ``load_head_model`` reads.

    ICT-FaceKit's modes are rounded to 16 bits; FLAME's stay as they are, and the cube positions of
    its vertices are kept. Files beside FLAME are not packed; they belong beside the output.

    Args:
        source: of the model, see ``load_head_model``.
        output: npz; the same source gives the same bytes.
        progress: called once per OBJ file of a folder, or once.

    Raises:
        ValueError: if the source is no model.
    """
    kind, path = which_model(source)
    if output.suffix != ".npz":
        raise ValueError(f"{output}: must end in .npz")
    output.parent.mkdir(parents=True, exist_ok=True)
    if kind == "ict":
        head = read_folder(path, progress) if path.is_dir() else read_ict(path)
        error = 0.01 * write_packed(output, head)
        if progress is not None and not path.is_dir():
            progress()
        return Packed(kind, len(head.vertices), len(head.identity) + len(head.expression), error)
    file, topology = read_flame(path), load_flame(path).topology
    if progress is not None:
        progress()
    modes = np.moveaxis(np.concatenate([file.shapes, file.expressions]), 0, 2)
    tree = np.stack([file.parents, np.arange(len(file.parents))])
    write_arrays(
        output,
        {
            "v_template": file.template,
            "f": file.faces,
            "shapedirs": modes,
            "n_shape": np.array(len(file.shapes)),
            "posedirs": file.correctives,
            "J_regressor": file.regressor,
            "kintree_table": tree,
            "weights": file.weights,
            "cube_coords": topology.coords,
        },
    )
    return Packed(kind, len(file.template), modes.shape[2], 0.0)
