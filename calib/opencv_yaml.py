"""OpenCV's YAML files, read without OpenCV, and written as its ``FileStorage`` writes them.

``cv2.FileStorage`` is not made for files of unknown origin. Here PyYAML's safe loader reads them,
with every scalar left as text and without aliases, so that a short file cannot stand for a large
document.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from calib.calibration import DamagedError, numbers, read_text

DoubleArray = npt.NDArray[np.float64]

# A hundred cameras take a tenth of it; the loader takes five seconds where every second byte of it
# is a value.
_LARGEST = 1 << 18
# The second is OpenCV 5's for vectors.
_MATRICES = ("tag:yaml.org,2002:opencv-matrix", "tag:yaml.org,2002:opencv-nd-matrix")


class _Loader(yaml.SafeLoader):
    """Mappings, lists and text; "00" stays "00"."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise DamagedError("has a YAML alias, which OpenCV never writes")
        return super().compose_node(parent, index)


def _matrix_entries(loader: yaml.SafeLoader, node: yaml.Node) -> dict[Hashable, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise DamagedError("an opencv-matrix is no mapping")
    return loader.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = {}
for _tag in _MATRICES:
    _Loader.add_constructor(_tag, _matrix_entries)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is a mapping; numbers in it are left as text.

    Raises:
        DamagedError: if it is not.
    """
    try:
        return _mapping(read_text(path, _LARGEST))
    except DamagedError as error:
        raise DamagedError(f"{path.name}: {error}") from None


def _mapping(text: str) -> dict[str, Any]:
    if text.startswith("%YAML"):
        # OpenCV's "%YAML:1.0" is no YAML directive.
        text = "\n" + text.partition("\n")[2]
    try:
        document = yaml.load(text, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise DamagedError(f"no YAML: {error.problem}{line}") from None
    except yaml.YAMLError as error:
        raise DamagedError(f"no YAML: {error}") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise DamagedError("must hold names with values")
    return document


def matrix(value: Any, n: int | None, what: str) -> DoubleArray:
    """The numbers of an opencv-matrix, or of a plain list, flat.

    Raises:
        DamagedError: if they are none, or not ``n``.
    """
    if not isinstance(value, dict):
        return numbers([] if value is None else value, n, what)
    if "data" not in value:
        raise DamagedError(f"{what} has no data")
    data = numbers(value["data"], n, what)
    # dt is a number of channels and a letter: "d", "3d".
    channels = str(value.get("dt", ""))[:-1] or 1
    sizes = value.get("sizes", [value.get("rows", 1), value.get("cols", len(data))])
    if not isinstance(sizes, list):
        raise DamagedError(f"the sizes of {what} are no list")
    layout = numbers([*sizes, channels], None, what)
    if layout.prod() != len(data):
        raise DamagedError(f"{what} announces {layout.prod():g} numbers and holds {len(data)}")
    return data


def matrix_text(name: str, values: DoubleArray) -> str:
    """A (rows, cols) matrix as ``FileStorage`` writes it."""
    rows, cols = values.shape
    data = ", ".join(repr(float(value)) for value in values.ravel())
    head = f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {cols}\n   dt: d\n"
    return f"{head}   data: [ {data} ]\n"
