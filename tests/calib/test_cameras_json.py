"""``cameras.schema.json`` says what the reader takes: nothing it rejects is read."""

import contextlib
import copy
import json
from importlib.resources import files

import jsonschema
import pytest

from calib.calibration import DamagedError
from calib.camera import MODEL_PARAMS
from calib.cameras_json import find_cameras_json, read_cameras_json, write_cameras_json
from calib.capture import CameraFileError
from calib.formats import read_cameras
from tests.calib.captures import FISHEYE, OPENCV, PINHOLE, RADIAL, make_capture
from tests.calib.lenses import PARAMS

SCHEMA = json.loads(files("calib").joinpath("cameras.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
# What takes the place of each value in turn.
STRANGE = [
    *(None, True, False, 0, -1, 1.5, 1e16, -1e16, 10**400, float("nan"), float("inf")),
    *("", "7", "x", "../x", "/x", "a/../b", "C:/x", "..\\x", "a\nb", "x" * 2000, "mm", "PINHOLE"),
    *([], [1], [[1]], ["1"], [None], {}, {"a": 1}, [[1, 2, 3]], [[1, 2, "3"]], [[[1, 2, 3]]]),
    *([1, 2, 3, 4], [[1, 0, 0, 0]] * 3, [[1, 0, 0, 0]] * 4, 1.0, 120.0, True),
]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$defs"]["view"]["properties"]["model"]["enum"] == list(MODEL_PARAMS)


@pytest.mark.parametrize("lens", [PINHOLE, OPENCV, RADIAL, FISHEYE], ids=lambda lens: lens[0])
@pytest.mark.parametrize("unit", [None, "m", "cm", "mm"])
def test_what_we_write_is_valid(tmp_path, lens, unit):
    path = write_cameras_json(tmp_path, make_capture(tmp_path, lens, unit=unit))
    VALIDATOR.validate(json.loads(path.read_text()))


@pytest.mark.parametrize("model", sorted(MODEL_PARAMS))
def test_every_lens_is_valid(tmp_path, model):
    capture = make_capture(tmp_path, (model, PARAMS[model]))
    path = write_cameras_json(tmp_path, capture)
    VALIDATOR.validate(json.loads(path.read_text()))
    assert len(read_cameras_json(path).images) == 4


def places(value, path=()):
    """Every place of a document, as the keys that lead to it."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def variants(document):
    """The document with one value replaced, left out or repeated, or one key added."""
    for path in places(document):
        if not path:
            continue
        for change in ("remove", "repeat", "add", *STRANGE):
            changed = copy.deepcopy(document)
            at = changed
            for key in path[:-1]:
                at = at[key]
            if change == "remove":
                del at[path[-1]]
            elif change == "repeat" and isinstance(at, list):
                at.append(at[path[-1]])
            elif change == "add" and isinstance(at, dict):
                at["extra"] = 1
            else:
                at[path[-1]] = change
            yield changed


def test_what_the_schema_rejects_is_refused(tmp_path):
    path = write_cameras_json(tmp_path, make_capture(tmp_path, PINHOLE, n=1, unit="mm"))
    document = json.loads(path.read_text())
    document["points"] = document["points"][:1]
    document["views"][0]["mask"] = "masks/00.png"
    n_rejected = n_read = 0
    for changed in variants(document):
        path.write_text(json.dumps(changed))
        is_valid = VALIDATOR.is_valid(changed)
        with contextlib.suppress(CameraFileError):
            read_cameras("cameras", path)
            n_read += 1
            assert is_valid, changed
        n_rejected += not is_valid
    assert n_rejected > 1000
    assert n_read > 50


@pytest.mark.parametrize("document", [[], 1, "x", {}, {"format": "headmvs-cameras", "version": 2}])
def test_no_document_at_all(tmp_path, document):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(document))
    assert find_cameras_json(tmp_path) == path
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(DamagedError):
        read_cameras_json(path)
