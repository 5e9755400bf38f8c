"""Arrays of pickle files, read without running anything that the file names.

A pickle is a program that may call any function. Here every name that NumPy, SciPy, chumpy and
torch write stands for a record of what the file says about it, any other name is refused, and
arrays are made of the records afterwards.
"""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, MemoryError, OverflowError, ImportError, RecursionError),
)


class Record:
    """What the file says about an object.

    Attributes:
        kind: its name in the file.
        arguments: it was to be made of.
        state: it was to be given.
    """

    kind = ""
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_pickle(path: Path) -> Any:
    """What a pickle file, or a .npy file of objects, holds.

    Args:
        path: of the file.

    Returns:
        Numbers, text and containers, and a ``Record`` for each object; ``as_array`` makes arrays
        of them. The one object of a .npy file of no dimensions itself.

    Raises:
        ValueError: if the file is no pickle, or asks for more than data.
        OSError: if it cannot be read.
    """
    data = path.read_bytes()
    is_npy = data.startswith(b"\x93NUMPY")
    try:
        found = _Unpickler(_without_header(data) if is_npy else data).load()
    except _Refusal:
        raise
    except _BROKEN as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"not a readable pickle ({reason})") from None
    return _only(found) if is_npy else found


def as_array(value: Any) -> npt.NDArray[Any]:
    """The numbers of an array, a sparse matrix, a list or a chumpy object of the file.

    Raises:
        ValueError: if the value holds none.
    """
    try:
        array = _array_of(value) if isinstance(value, Record) else np.asarray(value)
    except _BROKEN as error:
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None
    if array.dtype.kind not in "biuf":
        raise ValueError("holds no numbers")
    return array


class _Refusal(ValueError):  # noqa: N818 - it says what the file asked for
    pass


class _Unpickler(pickle.Unpickler):
    """Makes records only, of names that data have."""

    def __init__(self, data: bytes) -> None:
        # Python 2 wrote arrays as strings; latin1 keeps their bytes.
        super().__init__(io.BytesIO(data), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """A kind of record for a name of the file."""
        known = (module, name) in _NAMES or module.partition(".")[0] == "chumpy"
        if not known and not _is_sparse(module, name):
            raise _Refusal(f"it asks for {module}.{name}, which is no array; it was not run")
        return type("Record", (Record,), {"kind": f"{module}.{name}"})


_CORE = ("numpy.core", "numpy._core")
_NAMES = {
    *((f"{core}.multiarray", name) for core in _CORE for name in ("_reconstruct", "scalar")),
    *((f"{core}.numeric", "_frombuffer") for core in _CORE),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("copy_reg", "_reconstructor"),
    ("copyreg", "_reconstructor"),
    ("__builtin__", "object"),
    ("builtins", "object"),
    *((module, name) for module in ("__builtin__", "builtins") for name in ("set", "bytes")),
    # Tensors lie beside the arrays of some landmark files; they are not looked at.
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.storage", "_load_from_bytes"),
    ("collections", "OrderedDict"),
}
_SPARSE_KINDS = ("csc", "csr")


def _is_sparse(module: str, name: str) -> bool:
    kind, _, rest = name.partition("_")
    places = (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}", "scipy.sparse")
    return kind in _SPARSE_KINDS and rest in ("matrix", "array") and module in places


def _without_header(data: bytes) -> bytes:
    """The pickle in a .npy file."""
    if len(data) < 12:
        return b""
    wide = data[6] > 1
    (length,) = struct.unpack("<I", data[8:12]) if wide else struct.unpack("<H", data[8:10])
    return data[(12 if wide else 10) + length :]


def _only(found: Any) -> Any:
    """The one object of an array of objects, if it is such an array."""
    parts = found.state if isinstance(found, Record) else None
    if isinstance(parts, tuple) and len(parts) == 5 and isinstance(parts[4], list):
        return parts[4][0] if len(parts[4]) == 1 else found
    return found


def _array_of(record: Record) -> npt.NDArray[Any]:
    name = record.kind.rpartition(".")[2]
    if name == "_reconstructor":
        # An object of Python 2's oldest protocol: its class is the first argument.
        made = record.arguments[0]()
        made.state = record.state
        return _array_of(made)
    if name == "_reconstruct":
        _, shape, dtype, is_fortran, raw = record.state
        return _filled(raw, dtype, shape, "F" if is_fortran else "C")
    if name == "_frombuffer":
        return _filled(*record.arguments)
    if name == "scalar":
        return _filled(record.arguments[1], record.arguments[0], (), "C")
    if name.partition("_")[0] in _SPARSE_KINDS:
        return _dense(record.state, name.partition("_")[0])
    if isinstance(record.state, dict) and "x" in record.state:
        return as_array(record.state["x"])
    if name == "Select":
        return _selected(record.state)
    raise ValueError(f"a {record.kind} without an array")


def _filled(raw: Any, dtype: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    """An array of its bytes."""
    if isinstance(raw, Record):
        # Bytes of Python 3 in an old protocol: text and its encoding, or nothing at all.
        raw = raw.arguments[0] if raw.arguments else b""
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    values = np.frombuffer(data, _number_type(dtype))
    return values.reshape(tuple(int(k) for k in shape), order="F" if order == "F" else "C")


def _number_type(record: Any) -> np.dtype[Any]:
    if not isinstance(record, Record) or record.kind != "numpy.dtype":
        raise ValueError("an array without a type")
    dtype = np.dtype(str(record.arguments[0]))
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype} and not of numbers")
    order = record.state[1] if isinstance(record.state, tuple) else "="
    if order == ">":
        return dtype.newbyteorder(">")
    return dtype.newbyteorder("<") if order == "<" else dtype


def _selected(state: dict[str, Any]) -> npt.NDArray[Any]:
    """Places that a Select picks out of the flattened array."""
    chosen = as_array(state["a"]).ravel()[as_array(state["idxs"]).astype(np.int64).ravel()]
    shape = state.get("preferred_shape")
    return chosen if shape is None else chosen.reshape([int(k) for k in as_array(shape).ravel()])


def _dense(state: dict[str, Any], kind: str) -> npt.NDArray[Any]:
    """Dense values of a sparse matrix; a broken one is an IndexError or ValueError."""
    shape = state["_shape"] if "_shape" in state else state["shape"]
    n_rows, n_columns = (int(k) for k in as_array(shape))
    values = as_array(state["data"]).astype(np.float64)
    minor, counts = as_array(state["indices"]), np.diff(as_array(state["indptr"]))
    major = np.repeat(np.arange(len(counts)), counts)
    row, column = (minor, major) if kind == "csc" else (major, minor)
    if not len(row) == len(column) == len(values):
        raise ValueError("a sparse matrix that is broken")
    if len(row) and min(row.min(), column.min()) < 0:
        raise ValueError("a sparse matrix that is broken")
    dense = np.zeros((n_rows, n_columns))
    np.add.at(dense, (row.astype(np.int64), column.astype(np.int64)), values)
    return dense
