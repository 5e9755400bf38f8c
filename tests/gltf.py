"""GLB files read back by the specification's layout, and judged by Khronos' validator."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

_DTYPES = {5126: "<f4", 5125: "<u4", 5123: "<u2"}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_VALIDATE = """
const v = require('gltf-validator');
v.validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])))
  .then(r => console.log(JSON.stringify(r.issues)));
"""


class Glb:
    """The JSON, and accessors as arrays."""

    def __init__(self, path):
        blob = path.read_bytes()
        magic, version, length, n_json, kind = np.frombuffer(blob[:20], "<u4")
        assert (magic, version, length, kind) == (0x46546C67, 2, len(blob), 0x4E4F534A)
        assert n_json % 4 == 0
        self.data = json.loads(blob[20 : 20 + n_json])
        n_bin, kind = np.frombuffer(blob[20 + n_json : 28 + n_json], "<u4")
        assert (kind, n_bin) == (0x004E4942, len(blob) - 28 - n_json)
        assert self.data["buffers"] == [{"byteLength": n_bin}]
        self._bytes = blob[28 + n_json :]

    def accessor(self, index):
        entry = self.data["accessors"][index]
        width = _WIDTH[entry["type"]]
        values = np.zeros((entry["count"], width), _DTYPES[entry["componentType"]])
        if "bufferView" in entry:
            values = self._view(entry["bufferView"], entry["componentType"], width)
        if "sparse" in entry:
            some = entry["sparse"]
            rows = self._view(some["indices"]["bufferView"], some["indices"]["componentType"], 1)
            filled = self._view(some["values"]["bufferView"], entry["componentType"], width)
            assert len(rows) == len(filled) == some["count"]
            values = values.copy()
            values[rows[:, 0]] = filled
        assert len(values) == entry["count"]
        return values

    def attributes(self):
        primitive = self.data["meshes"][0]["primitives"][0]
        return {name: self.accessor(k) for name, k in primitive["attributes"].items()}

    def targets(self):
        primitive = self.data["meshes"][0]["primitives"][0]
        return [self.accessor(target["POSITION"]) for target in primitive["targets"]]

    def _view(self, index, kind, width):
        view = self.data["bufferViews"][index]
        assert view["byteOffset"] % 4 == 0
        data = self._bytes[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        return np.frombuffer(data, _DTYPES[kind]).reshape(-1, width)


def assert_valid(path):
    """Wants node, and the package gltf-validator where NODE_PATH finds it."""
    node = shutil.which("node")
    if (
        node is None
        or subprocess.run(
            [node, "-e", "require('gltf-validator')"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no node, or no gltf-validator")
    done = subprocess.run([node, "-e", _VALIDATE, path], capture_output=True, check=True)
    serious = [m for m in json.loads(done.stdout)["messages"] if m["severity"] < 2]
    assert not serious, path.name
