"""What a fit writes, read back."""

import copy
import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.capture import CaptureError
from mvs.headmodel.curves import ARKIT, arkit_name, arkit_parts
from mvs.headmodel.fit_files import read_fit
from mvs.headmodel.output import OutputOptions, write_fit
from mvs.headmodel.overlay import draw_fit
from mvs.stages.export import read_mesh
from mvs.stages.obj import read_obj
from mvs.stages.ply import read_properties
from tests.gltf import Glb, assert_valid
from tests.headmodel.fits import SIZE, Nodding, make_fit, neutral, small_ict
from tests.synthetic.heads import EXPRESSIONS, write_head


@pytest.fixture(scope="module")
def ict(tmp_path_factory):
    return small_ict(write_head(tmp_path_factory.mktemp("head") / "head.npz"))


@pytest.fixture(scope="module", params=["ict", "joints"])
def model(request, ict):
    return ict if request.param == "ict" else Nodding(ict)


def grey(frame, view):
    return np.full((SIZE, SIZE, 3), 90, np.uint8)


def test_a_fit_reads_back(tmp_path, model):
    fit = make_fit(model, 3)
    write_fit(fit, tmp_path)
    again = read_fit(tmp_path, model)
    for name in ("identity", "expressions", "joints", "confidence"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fit, name))
    for t in range(3):
        np.testing.assert_array_equal(again.vertices(t), fit.vertices(t))
        ours, theirs = fit.cameras[t][0], again.cameras[t][0]
        assert (ours.model, ours.width, ours.height) == (theirs.model, theirs.width, theirs.height)
        np.testing.assert_array_equal(ours.params, theirs.params)
    assert (again.names, again.warnings, again.unit) == (fit.names, fit.warnings, fit.unit)
    document = json.loads((tmp_path / "fit.json").read_text())
    assert list(document["frames"][0]["expression"]) == list(model.expression_names)
    assert document["frames"][0]["cameras"][0]["focal_px"] == 130.0
    marks = fit.vertices(1)[model.topology.landmarks[:, 0]]
    np.testing.assert_allclose(document["frames"][1]["landmarks"], marks, atol=1e-12)


def test_what_is_no_fit_is_refused(tmp_path, ict):
    with pytest.raises(CaptureError, match="not readable"):
        read_fit(tmp_path, ict)
    write_fit(make_fit(ict), tmp_path)
    with pytest.raises(CaptureError, match="another model, ict"):
        read_fit(tmp_path, Nodding(ict))
    path = tmp_path / "fit.json"
    whole = path.read_text()
    for text, says in (
        ("{", "not JSON"),
        ("{}", "not the fit.json"),
        (whole.replace('"version": 1', '"version": 9'), "of version 9"),
        (whole.replace('"frames"', '"flames"'), "not a fit"),
        (whole.replace('"identity"', '"person"'), "holds no identity"),
        (json.dumps(json.loads(whole) | {"frames": []}), "another model"),
    ):
        path.write_text(text)
        with pytest.raises(CaptureError, match=says):
            read_fit(tmp_path, ict)
    path.write_text(whole)
    table = tmp_path / "fit.npz"
    table.write_bytes(table.read_bytes()[:-2000])
    with pytest.raises(CaptureError, match="not a fit"):
        read_fit(tmp_path, ict)


def test_pictures_that_differ_in_their_ending_alone(tmp_path, ict):
    fit = make_fit(ict)
    names = ("a/00.jpg", "a/00.png", "a/01.jpg")
    fit = replace(fit, cameras=(fit.cameras[0] * 3,), names=(names,))
    write_fit(fit, tmp_path, pictures=grey)
    found = sorted(path.name for path in (tmp_path / "overlay" / "a").iterdir())
    assert found == ["00.jpg.png", "00.png.png", "01.png"]


def test_without_texture_places(tmp_path, ict):
    bare = copy.copy(ict)
    places = {"uv": np.zeros((0, 2), np.float32), "face_uv": np.zeros((0, 3), np.int32)}
    bare.topology = replace(ict.topology, **places)
    write_fit(make_fit(bare), tmp_path)
    assert read_obj(tmp_path / "posed.obj").texture is None
    assert "TEXCOORD_0" not in Glb(tmp_path / "fit.glb").attributes()


def test_meshes(tmp_path, model):
    fit = make_fit(model)
    write_fit(fit, tmp_path)
    for name, wanted in (("posed", fit.vertices()), ("neutral", neutral(fit))):
        mesh = read_mesh(tmp_path / f"{name}.ply")
        np.testing.assert_allclose(mesh.vertices.points, wanted, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, model.topology.faces)
        np.testing.assert_array_equal(mesh.vertices.coords, model.topology.coords)
        np.testing.assert_array_equal(mesh.vertices.confidence, fit.confidence[0])
        part = read_properties(tmp_path / f"{name}.ply")[0]["part"]
        names = np.array(model.topology.part_names)[model.topology.parts]
        for known, number in (("face", 0), ("neck", 1), ("left_eye", 2), ("teeth", 3)):
            assert (names == known).any()
            assert (part[names == known] == number).all()
        drawn = read_obj(tmp_path / f"{name}.obj")
        np.testing.assert_allclose(drawn.vertices, wanted, atol=1e-6)
        uv = model.topology.uv[model.topology.face_uv]
        np.testing.assert_allclose(drawn.texture[drawn.texture_faces], uv, atol=1e-6)


def test_up_and_unit(tmp_path, ict):
    """The picture's y points down: y up is half a turn."""
    fit = make_fit(ict)
    write_fit(fit, tmp_path, OutputOptions(up="y", unit="mm"))
    mesh = read_mesh(tmp_path / "posed.ply")
    turned = 1000 * fit.vertices() * [[1, -1, -1]]
    np.testing.assert_allclose(np.abs(mesh.vertices.points), np.abs(turned), atol=1e-3)
    used = np.unique(ict.topology.faces)
    up, high = mesh.vertices.points[used, 1], ict.topology.coords[used, 1]
    assert np.corrcoef(up, high)[0, 1] > 0.9
    assert b"comment unit mm" in (tmp_path / "posed.ply").read_bytes()[:400]
    other = make_fit(ict)
    object.__setattr__(other, "unit", None)
    with pytest.raises(ValueError, match="unit"):
        write_fit(other, tmp_path, OutputOptions(unit="mm"))


def posed_by(glb, weights, place):
    """Vertices of the GLB in its world, by the specification."""
    points = glb.attributes()["POSITION"].astype(np.float64)
    for weight, target in zip(weights, glb.targets(), strict=True):
        points += weight * target
    turn = Rotation.from_quat(place["rotation"])
    return turn.apply(points * place["scale"]) + place["translation"]


def test_glb_holds_the_fit(tmp_path, model):
    """Neutral and weighted targets make the posed head, in metres and y up."""
    fit = make_fit(model)
    write_fit(fit, tmp_path, OutputOptions(up="y"))
    glb = Glb(tmp_path / "fit.glb")
    mesh = glb.data["meshes"][0]
    indices = glb.accessor(mesh["primitives"][0]["indices"]).reshape(-1, 3)
    wanted = read_mesh(tmp_path / "posed.ply").vertices.points[model.topology.faces]
    found = posed_by(glb, mesh["weights"], glb.data["nodes"][0])[indices]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    still = posed_by(glb, np.zeros(len(mesh["weights"])), glb.data["nodes"][0])[indices]
    wanted = read_mesh(tmp_path / "neutral.ply").vertices.points[model.topology.faces]
    np.testing.assert_allclose(still, wanted, atol=1e-5)
    names = mesh["extras"]["targetNames"]
    assert len(names) == len(set(names)) == len(mesh["weights"])
    assert set(names) - {"joints_0"} == {arkit_name(name) for name in EXPRESSIONS}
    assert "jawOpen" in names
    assert "browDownLeft" in names
    weights = dict(zip(names, mesh["weights"], strict=True))
    assert weights["jawOpen"] == fit.expressions[0][EXPRESSIONS.index("jawOpen")]
    assert ("joints_0" in names) == (model.name == "nodding")
    assert_valid(tmp_path / "fit.glb")


def test_glb_of_a_video_moves(tmp_path, model):
    fit = make_fit(model, 5)
    write_fit(fit, tmp_path, OutputOptions(rate=10, meshes=True, up="y"))
    glb = Glb(tmp_path / "fit.glb")
    animation = glb.data["animations"][0]
    tracks = {}
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        np.testing.assert_allclose(glb.accessor(sampler["input"])[:, 0], np.arange(5) / 10)
        tracks[channel["target"]["path"]] = glb.accessor(sampler["output"])
    mesh = glb.data["meshes"][0]
    indices = glb.accessor(mesh["primitives"][0]["indices"]).reshape(-1, 3)
    weights = tracks.pop("weights").reshape(5, -1)
    for t in range(5):
        place = {name: values[t] for name, values in tracks.items()}
        wanted = read_mesh(tmp_path / "posed" / f"{t:06d}.ply").vertices.points
        found = posed_by(glb, weights[t], place)[indices]
        np.testing.assert_allclose(found, wanted[model.topology.faces], atol=1e-5)
    assert_valid(tmp_path / "fit.glb")


def test_targets_that_arkit_has_for_both_sides():
    """One that moves both sides comes beside those of each."""
    names = ("browInnerUp_L", "browInnerUp_R", "jawOpen", "cheekRaiser_L")
    assert arkit_parts(names) == {"jawOpen": (2,), "browInnerUp": (0, 1)}
    assert [arkit_name(name) for name in names] == list(names)
    assert arkit_name("mouthSmile_R") == "mouthSmileRight"
    assert len(ARKIT) == len(set(ARKIT)) == 52


def test_curves(tmp_path, model):
    fit = make_fit(model, 3)
    write_fit(fit, tmp_path, OutputOptions(rate=30))
    with (tmp_path / "expressions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["0", "1", "2"]
    assert rows[2]["time"] == "0.066667"
    assert rows[1]["name"] == "000001.jpg"
    for name in EXPRESSIONS:
        column = arkit_name(name)
        values = [float(row[column[0].upper() + column[1:]]) for row in rows]
        found = fit.expressions[:, EXPRESSIONS.index(name)]
        np.testing.assert_allclose(values, found, atol=1e-6)
    order = [name for name in rows[0] if name[0].isupper()]
    assert order[:4] == ["EyeBlinkLeft", "EyeBlinkRight", "JawOpen", "MouthSmileLeft"]
    if model.joint_names:
        assert [float(row["neck.y"]) for row in rows] == pytest.approx(
            fit.joints[:, 0, 1].tolist(), abs=1e-6
        )


def test_overlay_lies_where_the_head_is(tmp_path, ict):
    fit = make_fit(ict)
    drawn = draw_fit(fit, 0, 0, grey(0, 0))
    changed = (drawn != 90).any(axis=2)
    pixels, _ = fit.cameras[0][0].project(fit.vertices()[np.unique(ict.topology.faces)])
    rows, columns = np.nonzero(changed)
    for found, wanted in ((columns, pixels[:, 0]), (rows, pixels[:, 1])):
        low, high = np.clip([wanted.min(), wanted.max()], 0, SIZE)
        assert abs(found.min() - low) < 2
        assert abs(found.max() + 1 - high) < 2
    with pytest.raises(ValueError, match="64 x 64"):
        draw_fit(fit, 0, 0, grey(0, 0)[:-1])
    files = write_fit(fit, tmp_path, None, grey)
    assert files[-1] == tmp_path / "overlay" / "000000.png"
    np.testing.assert_array_equal(cv2.imread(str(files[-1]))[..., ::-1], drawn)


def test_overlay_of_a_video(tmp_path, ict):
    files = write_fit(make_fit(ict, 4), tmp_path, OutputOptions(rate=12), grey)
    assert files[-1] == tmp_path / "overlay.mp4"
    video = cv2.VideoCapture(str(files[-1]))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert video.get(cv2.CAP_PROP_FPS) == 12
    video.release()


def test_the_same_bytes_again(tmp_path, model):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        write_fit(make_fit(model), folder, None, grey)
    for path in sorted(p for p in folders[0].rglob("*") if p.is_file()):
        other = folders[1] / path.relative_to(folders[0])
        assert other.read_bytes() == path.read_bytes(), path.name
