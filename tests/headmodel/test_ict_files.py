"""ICT-FaceKit's folder and packed file."""

import json

import numpy as np
import pytest

from mvs.headmodel.ict import ict_model, load_ict
from mvs.headmodel.ict_files import read_packed, write_packed
from mvs.headmodel.ict_folder import NEUTRAL, read_folder
from mvs.headmodel.ict_layout import LANDMARKS, N_VERTICES, PART_NAMES
from mvs.headmodel.load import load_head_model
from mvs.headmodel.pack import pack_model
from mvs.headmodel.types import Shape
from tests.headmodel import models
from tests.shared import ICT

N_FACES = 1200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.write_ict_folder(tmp_path_factory.mktemp("ict") / "FaceXModel", N_FACES)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return models.write_ict_npz(tmp_path_factory.mktemp("packed") / "ict.npz", N_FACES)


def test_the_folder_holds_what_was_written(folder):
    head, arrays = read_folder(folder), models.ict_arrays(N_FACES)
    np.testing.assert_allclose(head.vertices, arrays["vertices"], rtol=1e-6)
    np.testing.assert_allclose(head.identity, arrays["identity"], atol=1e-7)
    np.testing.assert_allclose(head.expression, arrays["expression"], atol=1e-7)
    assert head.expression_names == tuple(sorted(models.EXPRESSIONS))
    assert head.landmarks.tolist() == arrays["landmarks"]
    # Quads become fans, and places are those of their own rows.
    triangles = []
    for ring in arrays["polygons"]:
        triangles += [[ring[0], ring[k], ring[k + 1]] for k in range(1, len(ring) - 1)]
    assert head.faces.tolist() == np.array(triangles).tolist()
    n = len(head.vertices)
    np.testing.assert_allclose(
        head.uv[head.face_uv], arrays["uv"][n - 1 - head.faces], atol=1e-6, rtol=0
    )


def test_folder_and_packed_file_are_one_model(folder, tmp_path):
    """Rounded to 16 bits of each mode's largest displacement, and said how much."""
    head, path = read_folder(folder), tmp_path / "ict.npz"
    error = write_packed(path, head)
    again = read_packed(path)
    for before, after in ((head.identity, again.identity), (head.expression, again.expression)):
        largest = np.abs(before).max(axis=(1, 2))
        off = np.abs(after - before).max(axis=(1, 2))
        assert (off <= 0.51 * largest / 32767 + 1e-7).all()
        assert off.max() <= error
    assert 0 < error < 1e-4
    for name in ("vertices", "faces", "uv", "face_uv", "landmarks", "part_ranges"):
        np.testing.assert_array_equal(getattr(again, name), getattr(head, name))
    assert (again.expression_names, again.part_names) == (head.expression_names, PART_NAMES)
    direct, through = load_head_model(folder), load_head_model(path)
    shape = Shape(np.ones(10), np.full(16, 0.5), np.zeros((0, 3)))
    assert np.abs(direct.vertices(shape) - through.vertices(shape)).max() <= 26 * error
    assert direct.topology.part_names == through.topology.part_names
    for name in ("faces", "coords", "parts", "landmarks", "uv", "face_uv"):
        np.testing.assert_array_equal(
            getattr(direct.topology, name), getattr(through.topology, name)
        )


def test_packing_gives_the_same_bytes(folder, tmp_path):
    counted = []
    for name in ("a.npz", "b.npz"):
        report = pack_model(folder, tmp_path / name, lambda: counted.append(1))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert report.kind == "ict"
    assert report.n_modes == 26
    assert len(counted) == 2 * len(list(folder.glob("*.obj")))
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        pack_model(folder, tmp_path / "a.pkl")


def test_shells_have_places_but_no_faces(packed):
    model, head = load_ict(packed), read_packed(packed)
    parts = dict(zip(head.part_names, head.part_ranges.tolist(), strict=True))
    lashes = np.arange(*parts["Eyelashes left"])
    assert len(lashes) == 4
    assert not np.isin(model.topology.faces, lashes).any()
    assert np.isnan(model.topology.coords[lashes]).all()
    assert np.isfinite(model.vertices(model.neutral(), lashes)).all()
    assert len(model.topology.faces) == len(head.faces) - 4
    np.testing.assert_array_equal(model.expression_bounds, np.tile([0, 1], (16, 1)))


def test_coordinates_are_the_cube_s(packed):
    model = load_ict(packed)
    seen = np.unique(model.topology.faces)
    back = models.cm_from_cube(model.topology.coords[seen])
    np.testing.assert_allclose(back, model.template[seen], atol=1e-5)


def edit(name, change):
    def apply(folder):
        path = folder / f"{name}.obj"
        path.write_text(change(path.read_text()))

    return apply


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "generic_neutral_mesh.obj").unlink(), "holds no head model"),
        (lambda f: (f / "identity004.obj").unlink(), "identity004.obj"),
        (lambda f: (f / "layout.json").unlink(), "layout.json"),
        (lambda f: (f / "layout.json").write_text("{"), "not a layout of parts"),
        (lambda f: (f / "layout.json").write_text('{"parts": [], "landmarks": [1]}'), "landmarks"),
        (edit("jawOpen", lambda s: s.replace("\nv ", "\n# ", 1)), "jawOpen"),
        (edit("jawOpen", lambda s: s.replace("v ", "v x", 1)), "jawOpen"),
        (edit("jawOpen", lambda s: s.replace("v ", "v nan ", 1)), "finite"),
        (edit(NEUTRAL, lambda s: s.replace("f ", "f 0/", 1)), "face"),
        (edit(NEUTRAL, lambda s: s.replace("f ", "f 9999999/1 ", 1)), "faces"),
        (edit(NEUTRAL, lambda s: s.partition("f ")[0]), "face"),
    ],
)
def test_broken_folders_get_one_line(tmp_path, break_it, says):
    folder = models.write_ict_folder(tmp_path / "model", 400)
    break_it(folder)
    with pytest.raises(ValueError, match=says) as caught:
        load_head_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95, 0.999])
def test_truncated_files_get_one_line(packed, tmp_path, share):
    data = packed.read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"cut\.npz: not a packed ICT-FaceKit head") as caught:
        load_head_model(path)
    assert "\n" not in str(caught.value)


WRONG = {
    "vertices": lambda a: a[:-1],
    "faces": lambda a: a + 100_000,
    "id_delta_q": lambda a: a[:, :-1],
    "ex_delta_q": lambda a: a.astype(float),
    "id_scale": lambda a: a * np.nan,
    "ex_scale": lambda a: a[1:],
    "ex_names": lambda a: a[1:],
    "landmarks68": lambda a: a[1:],
    "part_vertex_range": lambda a: a + 5000,
    "part_names": lambda a: a[1:],
    "face_uv": lambda a: a[1:],
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_do_not_fit_get_one_line(packed, tmp_path, name):
    with np.load(packed) as data:
        arrays = {key: data[key] for key in data.files}
    np.savez(tmp_path / "other.npz", **(arrays | {name: WRONG[name](arrays[name])}))
    with pytest.raises(ValueError, match="not a packed ICT-FaceKit head"):
        load_head_model(tmp_path / "other.npz")
    if name in ("part_names", "face_uv"):
        return
    arrays.pop(name)
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(ValueError, match="not a packed ICT-FaceKit head"):
        load_head_model(tmp_path / "less.npz")


def test_layouts_of_folders_are_written_as_documented(folder):
    layout = json.loads((folder / "layout.json").read_text())
    assert [part["name"] for part in layout["parts"]] == list(PART_NAMES)


def test_the_real_head_agrees_with_its_documentation():
    if not ICT.is_file():
        pytest.skip(f"{ICT} is absent")
    head = read_packed(ICT)
    assert len(head.vertices) == N_VERTICES
    assert head.landmarks.tolist() == list(LANDMARKS)
    assert head.part_names == PART_NAMES
    model = ict_model(head)
    topology = model.topology
    from mvs.canonical.landmarks import landmark_positions

    marks = topology.coords[topology.landmarks[:, 0]]
    np.testing.assert_allclose(marks, landmark_positions(), atol=2e-6)
    assert len(topology.faces) == 48836
    assert set(topology.part_names) >= {"face", "neck", "teeth", "left_eye", "right_eye"}
