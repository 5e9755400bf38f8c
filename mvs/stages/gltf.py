"""The JSON and the bytes of a GLB file as they grow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

FLOAT, USHORT, UINT = 5126, 5123, 5125
VERTICES, INDICES = 34962, 34963
_DTYPES = {FLOAT: "<f4", USHORT: "<u2", UINT: "<u4"}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class Document:
    """Buffer views, accessors and bytes."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.data = bytearray()

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes; returns their buffer view."""
        self.data += b"\0" * (-len(self.data) % 4)
        view: dict[str, Any] = {
            "buffer": 0,
            "byteOffset": len(self.data),
            "byteLength": len(data),
        }
        if target is not None:
            view["target"] = target
        self.data += data
        self.views.append(view)
        return len(self.views) - 1

    def accessor(self, values: npt.NDArray[Any], kind: int, target: int | None = VERTICES) -> int:
        """Append an array; returns its accessor."""
        rows = np.ascontiguousarray(values.reshape(len(values), -1), _DTYPES[kind])
        entry = {
            "bufferView": self.view(rows.tobytes(), target),
            "componentType": kind,
            "count": len(rows),
            "type": _TYPES[rows.shape[1]],
        }
        if kind == USHORT:
            entry["normalized"] = True
        if kind == FLOAT and len(rows):
            entry["min"] = rows.min(axis=0).astype(np.float64).tolist()
            entry["max"] = rows.max(axis=0).astype(np.float64).tolist()
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def sparse(self, values: npt.NDArray[Any]) -> int:
        """Append an array (N, 3) of floats, most of whose rows may be zero; returns its accessor.

        Source:
            Khronos Group, glTF 2.0 specification, 3.6.2.3.
        """
        rows = values.astype("<f4")
        used = np.flatnonzero(rows.any(axis=1)).astype("<u4")
        if 3 * len(used) >= 2 * len(rows):
            return self.accessor(rows, FLOAT)
        entry: dict[str, Any] = {"componentType": FLOAT, "count": len(rows), "type": "VEC3"}
        entry["min"] = rows.min(axis=0).astype(np.float64).tolist()
        entry["max"] = rows.max(axis=0).astype(np.float64).tolist()
        if len(used):
            indices = {"bufferView": self.view(used.tobytes()), "componentType": UINT}
            filled = {"bufferView": self.view(rows[used].tobytes())}
            entry["sparse"] = {"count": len(used), "indices": indices, "values": filled}
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def container(self, root: dict[str, Any]) -> bytes:
        """The whole file: header, JSON chunk with what was appended, binary chunk."""
        self.data += b"\0" * (-len(self.data) % 4)
        root = root | {"accessors": self.accessors, "bufferViews": self.views}
        root["buffers"] = [{"byteLength": len(self.data)}]
        text = json.dumps(root, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = [(text, b"JSON"), (bytes(self.data), b"BIN\0")]
        body = b"".join(np.array(len(c), "<u4").tobytes() + name + c for c, name in chunks)
        return b"glTF" + np.array([2, 12 + len(body)], "<u4").tobytes() + body
