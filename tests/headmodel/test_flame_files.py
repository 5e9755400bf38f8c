"""FLAME's files: read alike, never run, and refused in one line."""

import os
import pickle
import shutil

import numpy as np
import pytest

from mvs.canonical.landmarks import landmark_positions
from mvs.headmodel.flame_files import read_extras, read_flame
from mvs.headmodel.load import load_head_model
from mvs.headmodel.pack import pack_model
from mvs.headmodel.unpickle import as_array, read_pickle
from tests.headmodel import models

N_FACES = 1200


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same model in each of the formats."""
    folder = tmp_path_factory.mktemp("flame")
    models.write_flame_npz(folder / "plain.npz", N_FACES)
    models.write_flame_pickle(folder / "2020.pkl", N_FACES)
    models.write_flame_pickle(folder / "2023.pkl", N_FACES, with_chumpy=False)
    return folder


@pytest.mark.parametrize("name", ["2020.pkl", "2023.pkl"])
def test_pickles_hold_what_npz_holds(files, name):
    one, other = read_flame(files / "plain.npz"), read_flame(files / name)
    for field in type(one).__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert len(one.shapes) == models.N_FLAME_SHAPES
    assert len(one.expressions) == models.N_FLAME_EXPRESSIONS


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_all_protocols(tmp_path, protocol):
    arrays = {
        "a": np.arange(12.0).reshape(3, 4).T,
        "b": np.arange(6, dtype=">i2").reshape(2, 3),
        "c": np.float32(1.5),
        "d": np.zeros((0, 3), np.uint32),
        "e": [[1, 2], [3, 4]],
        "f": np.array([True, False]),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol))
    found = read_pickle(tmp_path / "a.pkl")
    for name, array in arrays.items():
        np.testing.assert_array_equal(as_array(found[name]), array)
        kinds = (as_array(found[name]).dtype, np.asarray(array).dtype)
        assert kinds[0].newbyteorder("=") == kinds[1].newbyteorder("=")


def test_parts_picked_by_chumpy(tmp_path):
    values = np.arange(24.0).reshape(4, 6)
    chosen = models.chumpy_class("Select")(
        a=models.chumpy_class("Ch")(x=values), idxs=np.array([3, 0, 5, 23]), preferred_shape=(2, 2)
    )
    (tmp_path / "a.pkl").write_bytes(models.pickle_of_chumpy({"v": chosen}))
    found = as_array(read_pickle(tmp_path / "a.pkl")["v"])
    np.testing.assert_array_equal(found, [[3, 0], [5, 23]])


class Calls:
    """An object whose pickle calls a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "system"),
        (eval, "eval"),
        (getattr, "getattr"),
        (np.load, "load"),
        (np.memmap, "memmap"),
        (shutil.rmtree, "rmtree"),
    ],
)
def test_nothing_is_run(tmp_path, protocol, function, name):
    mark = tmp_path / "mark"
    mark.mkdir()
    what = {
        "system": f"rmdir {mark}",
        "eval": f"__import__('os').rmdir({str(mark)!r})",
    }.get(name, str(mark))
    document = {"v_template": Calls(function, what)}
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(document, protocol))
    with pytest.raises(ValueError, match=rf"bad\.pkl: not a FLAME model \(it asks for .*\.{name}"):
        load_head_model(tmp_path / "bad.pkl")
    assert mark.is_dir()


def test_what_is_allowed_does_nothing_either(tmp_path):
    """Names of data, called as functions with odd arguments, are records and no more."""
    for callee in (np.ndarray, np.dtype):
        document = {name: Calls(callee, "O") for name in ("v_template", "shapedirs")}
        (tmp_path / "odd.pkl").write_bytes(pickle.dumps(document, 2))
        with pytest.raises(ValueError, match="not a FLAME model"):
            load_head_model(tmp_path / "odd.pkl")


@pytest.mark.parametrize("name", ["plain.npz", "2020.pkl", "2023.pkl"])
def test_truncated_files_get_one_line(files, tmp_path, name):
    data = (files / name).read_bytes()
    path = tmp_path / name
    for share in (0.0, 0.001, 0.2, 0.5, 0.9, 0.9999):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match="not a ") as caught:
            load_head_model(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def complaint(path):
    """What is said about a file, if anything."""
    try:
        read_flame(path)
    except ValueError as error:
        return str(error)
    return None


def test_changed_bytes_get_one_line_or_other_numbers(files, tmp_path):
    data, rng = bytearray((files / "2020.pkl").read_bytes()), np.random.default_rng(0)
    path = tmp_path / "a.pkl"
    for _ in range(150):
        changed = bytearray(data)
        # Where names and shapes are: near the beginnings of arrays and at the end.
        for _ in range(3):
            at = int(rng.choice([rng.integers(600), len(data) - 1 - rng.integers(4000)]))
            changed[at] = int(rng.integers(256))
        path.write_bytes(changed)
        error = complaint(path)
        assert error is None or (str(path) in error and "\n" not in error)


WRONG = {
    "v_template": lambda a: a[:-1],
    "f": lambda a: a + 100_000,
    "shapedirs": lambda a: a * np.nan,
    "posedirs": lambda a: a[..., :9],
    "J_regressor": lambda a: a[:, 1:],
    "kintree_table": lambda a: a[:, ::-1],
    "weights": lambda a: 2 * a,
    "n_shape": lambda a: a + 99,
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_do_not_fit_get_one_line(files, tmp_path, name):
    with np.load(files / "plain.npz") as data:
        arrays = {key: data[key] for key in data.files}
    np.savez(tmp_path / "other.npz", **(arrays | {name: WRONG[name](arrays[name])}))
    with pytest.raises(ValueError, match="not a FLAME model"):
        load_head_model(tmp_path / "other.npz")
    arrays.pop(name)
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(ValueError, match=r"not a (FLAME model|packed)"):
        load_head_model(tmp_path / "less.npz")


def test_a_template_that_is_no_head_is_said_to_be_none(files, tmp_path):
    with np.load(files / "plain.npz") as data:
        arrays = {key: data[key] for key in data.files}
    upside_down = arrays | {"v_template": arrays["v_template"] * [1, -1, -1]}
    np.savez(tmp_path / "down.npz", **upside_down)
    with pytest.raises(ValueError, match="look like a head with y up"):
        load_head_model(tmp_path / "down.npz")


def test_packed_flame_is_the_same_model(files, tmp_path):
    report = pack_model(files / "2020.pkl", tmp_path / "a.npz")
    assert (report.kind, report.error_m) == ("flame", 0.0)
    pack_model(files / "plain.npz", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    one, other = load_head_model(files / "plain.npz"), load_head_model(tmp_path / "a.npz")
    np.testing.assert_array_equal(one.topology.coords, other.topology.coords)
    np.testing.assert_array_equal(one.topology.landmarks, other.topology.landmarks)
    shape = one.neutral()
    shape.joints[:] = 0.1
    np.testing.assert_array_equal(one.vertices(shape), other.vertices(shape))


def embed(model, n):
    """Faces and weights of the last n of the model's own landmarks."""
    topology = model.topology
    keys = {tuple(sorted(face)): row for row, face in enumerate(topology.faces.tolist())}
    rows, weights = [], []
    for corners, weight in zip(topology.landmarks, topology.landmark_weights, strict=True):
        row = keys[tuple(sorted(corners.tolist()))]
        order = [corners.tolist().index(vertex) for vertex in topology.faces[row]]
        rows.append(row)
        weights.append(weight[order])
    return np.array(rows)[68 - n :], np.array(weights)[68 - n :]


def test_files_beside_the_model_are_used(files, tmp_path):
    model = load_head_model(files / "plain.npz")
    path = tmp_path / "generic_model.pkl"
    models.write_flame_pickle(path, N_FACES)
    rows, weights = embed(model, 51)
    others = (rows + 3) % len(model.topology.faces)
    embedding = {"lmk_face_idx": others, "lmk_b_coords": weights}
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(embedding, 2))
    masks = {"face": np.arange(10), "neck": np.arange(5, 8), "left_eyeball": np.arange(3)}
    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, 2))
    n = len(model.template)
    lines = ["v {:.9f} {:.9f} {:.9f}".format(*row) for row in model.template.tolist()]
    lines += [f"vt {k / n:.6f} 0.25" for k in range(n)]
    lines += ["f {0}/{0} {1}/{1} {2}/{2}".format(*(row + 1)) for row in model.topology.faces]
    (tmp_path / "head_template_mesh.obj").write_text("\n".join(lines))
    found = load_head_model(tmp_path)
    topology = found.topology
    np.testing.assert_array_equal(topology.landmarks[17:], topology.faces[others])
    np.testing.assert_array_equal(topology.landmark_weights[17:], weights)
    names = [topology.part_names[part] for part in topology.parts[:10]]
    assert names == ["left_eye"] * 3 + ["face"] * 2 + ["neck"] * 3 + ["face"] * 2
    np.testing.assert_array_equal(topology.face_uv, topology.faces)
    assert topology.uv.shape == (n, 2)
    (tmp_path / "head_template_mesh.obj").unlink()
    places = np.float32([[0.25, 0.5], [0.75, 1.0]])
    rows = (topology.faces % 2).astype(np.uint32)
    np.savez(tmp_path / "FLAME_texture.npz", vt=places, ft=rows, tex_dir=np.zeros(9))
    extras = read_extras(tmp_path, topology.faces, n)
    np.testing.assert_array_equal(extras.uv[extras.face_uv], places[rows])
    np.savez(tmp_path / "FLAME_texture.npz", vt=places, ft=rows + 1)
    with pytest.raises(ValueError, match=r"FLAME_texture\.npz: not FLAME's texture"):
        read_extras(tmp_path, topology.faces, n)


def test_the_embedding_in_a_npy_file_of_objects(files, tmp_path):
    model = load_head_model(files / "plain.npz")
    path = models.write_flame_npz(tmp_path / "flame.npz", N_FACES)
    rows, weights = embed(model, 68)
    table = {"full_lmk_faces_idx": rows[None], "full_lmk_bary_coords": weights[None]}
    np.save(tmp_path / "landmark_embedding.npy", np.array(table, dtype=object))
    found = load_head_model(path).topology
    np.testing.assert_array_equal(np.sort(found.landmarks), np.sort(model.topology.landmarks))
    # Known landmarks pull the template to their own places.
    places = np.einsum("nk,nkc->nc", found.landmark_weights, found.coords[found.landmarks])
    off = np.linalg.norm(places - landmark_positions(), axis=1)[17:]
    assert off.max() * 375.7 < 3
    table["full_lmk_faces_idx"] = rows[:9]
    np.save(tmp_path / "landmark_embedding.npy", np.array(table, dtype=object))
    with pytest.raises(ValueError, match=r"landmark_embedding\.npy: not a landmark embedding"):
        load_head_model(path)


@pytest.mark.parametrize("name", ["nothing", "folder", "text.pkl", "text.npz"])
def test_what_is_no_model_gets_one_line(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name != "nothing":
        path.write_text("a head")
    with pytest.raises(ValueError, match=r"no such file|no head model|not a ") as caught:
        load_head_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
