"""Tables of arrays in npz files."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

import numpy as np
import numpy.typing as npt

from calib.files import replacing


def read_arrays(path: Path, names: Collection[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an npz file; nothing is unpickled.

    Args:
        path: of the file.
        names: of those that are read, if it has them; all without.

    Raises:
        ValueError: if it is no such file.
        OSError: if it cannot be read.
    """
    # NumPy would leave a broken file open that it opened itself.
    with path.open("rb") as stream:
        try:
            with ZipFile(stream) as archive:
                held = {name.removesuffix(".npy"): name for name in archive.namelist()}
                wanted = names or held
                return {name: _read(archive.read(held[name])) for name in wanted if name in held}
        except (BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(reason[0].lower() + reason[1:] if reason else "broken") from None


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write an npz file, whole or not at all, without the time of day."""
    with replacing(path) as stream, ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(ZipInfo(f"{name}.npy"), content.getvalue(), ZIP_DEFLATED)


def _read(content: bytes) -> npt.NDArray[Any]:
    return np.asarray(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
