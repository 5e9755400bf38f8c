"""``mvs fit``: from files to files, with the shipped formats and maps that are exact."""

import json
import shutil

import cv2
import numpy as np
import pytest

from calib.colmap import write_model
from mvs.cli.main import run
from mvs.headmodel.load import load_head_model
from mvs.network.checkpoint import save_checkpoint
from mvs.network.precomputed import write_cube_map
from mvs.network.regressor import KIND
from mvs.stages.ply import read_properties, write_properties
from tests.headmodel.maps import camera_at, map_of, person, place
from tests.headmodel.models import write_ict_npz
from tests.headmodel.readings import small_network

TRUST = ["--fit.observe.blocks", "100000", "--fit.observe.floor", "3e-4"]
TRUST += ["--fit.observe.reach", "3e-3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A capture of a head in three views, its exact maps, the model, and the head's vertices."""
    folder = tmp_path_factory.mktemp("fit")
    path = write_ict_npz(folder / "ict.npz", 1500)
    model = load_head_model(path)
    shape, at = person(model, 2), place(model, 5.0)
    cameras = [camera_at(azimuth) for azimuth in (-30.0, 0.0, 30.0)]
    names = [f"{k:02d}.png" for k in range(3)]
    (folder / "capture" / "images").mkdir(parents=True)
    (folder / "maps").mkdir()
    for name, camera in zip(names, cameras, strict=True):
        found = map_of(model, shape, at, camera)
        write_cube_map(folder / "maps" / f"{name}.npz", found)
        image = np.where(found.mask[..., None], 180, 20).astype(np.uint8).repeat(3, axis=2)
        cv2.imwrite(str(folder / "capture" / "images" / name), image)
    sparse = folder / "capture" / "sparse" / "0"
    points = at.points(model.vertices(shape))[:20]
    write_model(sparse, names, cameras, points, [np.arange(20) for _ in names])
    return folder, path, at.points(model.vertices(shape)), cameras


def command(made, *words):
    folder, model, _, _ = made
    maps = ["--embedder", "precomputed", "--cube-maps", str(folder / "maps")]
    return run(["fit", *map(str, words), "--model", str(model), *maps, "--quiet"])


def posed(output):
    vertex, _ = read_properties(output / "posed.ply")
    return np.column_stack([vertex[name] for name in "xyz"]).astype(np.float64)


def test_image(made, tmp_path):
    folder, _, truth, _ = made
    image = folder / "capture" / "images" / "01.png"
    code = command(made, "image", image, "--output", tmp_path, "--focal-px", 127, *TRUST)
    assert code == 0
    told = json.loads((tmp_path / "fit.json").read_text())
    assert told["model"] == "ict"
    assert (tmp_path / "overlay" / "01.png").is_file()
    assert len(posed(tmp_path)) == len(truth)


def test_capture(made, tmp_path):
    folder, _, truth, _ = made
    words = ["capture", folder / "capture", "--output", tmp_path, "--reconstruct", "none"]
    assert command(made, *words, *TRUST) == 0
    assert 1000 * np.median(np.linalg.norm(posed(tmp_path) - truth, axis=1)) < 1.0
    assert len(list((tmp_path / "overlay").iterdir())) == 3


def test_capture_wrapped_onto_its_scan(made, tmp_path):
    """The scan is 3 mm off the head, sideways, on the face alone."""
    folder, path, truth, _ = made
    topology = load_head_model(path).topology
    shift = np.array([0.003, 0.0, 0.0])
    columns = {name: (truth + shift)[:, k] for k, name in enumerate("xyz")}
    coords = np.nan_to_num(topology.coords)
    columns |= {name: coords[:, k] for k, name in enumerate("uvw")}
    columns["confidence"] = np.ones(len(truth), np.float32)
    outer = np.isfinite(topology.coords).all(axis=1) & np.isin(topology.parts, (0, 1))
    scan = tmp_path / "scan.ply"
    with scan.open("wb") as stream:
        write_properties(stream, columns, topology.faces[outer[topology.faces].all(axis=1)])
    words = ["capture", folder / "capture", "--output", tmp_path / "fit", "--register", *TRUST]
    assert command(made, *words, "--reconstruction", scan) == 0
    _, faces = read_properties(tmp_path / "fit" / "registered.ply")
    np.testing.assert_array_equal(faces, topology.faces)
    assert (tmp_path / "fit" / "registered.obj").is_file()
    report = json.loads((tmp_path / "fit" / "registration.json").read_text())
    assert report["parts"]["face"]["distance_mm"]["median"] < 0.5
    assert command(made, *words, "--reconstruct", "none") == 2


def test_capture_of_one_view(made, tmp_path, capsys):
    """Its unit tells how large the head is; without one nothing does."""
    folder, _, truth, _ = made
    words = ["capture", folder / "capture", "--output", tmp_path, "--views", "01", *TRUST]
    assert command(made, *words) == 2
    assert "how large" in capsys.readouterr().err
    known = folder / "capture" / "capture.json"
    known.write_text('{"unit": "m"}')
    try:
        assert command(made, *words) == 0
        assert command(made, *words, "--register") == 2
    finally:
        known.unlink()
    assert "--register needs a reconstruction" in capsys.readouterr().err
    assert 1000 * np.median(np.linalg.norm(posed(tmp_path) - truth, axis=1)) < 25.0


def test_up_and_unit(made, tmp_path):
    folder = made[0]
    image = folder / "capture" / "images" / "01.png"
    words = ("image", image, "--focal-px", 127, "--output")
    how = ("--up", "y", "--unit", "mm", "--no-overlay")
    assert command(made, *words, tmp_path / "a") == 0
    assert command(made, *words, tmp_path / "b", *how) == 0
    ours, theirs = (posed(tmp_path / name)[:, 1] for name in "ba")
    np.testing.assert_allclose(ours, -1000 * theirs, atol=1e-3)
    assert not (tmp_path / "b" / "overlay").exists()


def test_video(made, tmp_path):
    folder = made[0]
    frames = folder / "capture" / "images"
    words = ["video", frames, "--output", tmp_path, "--focal-px", 127, "--no-overlay"]
    assert command(made, *words) == 0
    found = np.load(tmp_path / "fit.npz", allow_pickle=False)
    assert found["expressions"].shape[0] == 3


def test_rate_of_a_video(made, tmp_path):
    """Seconds in the curves are those of the video's own rate, less often with ``--every``."""
    folder = made[0]
    pictures = [cv2.imread(str(p)) for p in sorted((folder / "capture/images").iterdir())]
    video = cv2.VideoWriter(
        str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, pictures[0].shape[1::-1]
    )
    for picture in pictures:
        video.write(picture)
    video.release()
    maps = tmp_path / "maps"
    maps.mkdir()
    for k in range(3):
        shutil.copy(folder / "maps" / f"{k:02d}.png.npz", maps / f"{k:06d}.npz")
    for words, step in (((), 0.08), (("--every", "2"), 0.16), (("--fps", "10"), 0.1)):
        output = tmp_path / "-".join(("fit", *words))
        options = ["--output", output, "--focal-px", 127, "--no-overlay", *words]
        assert command((tmp_path, *made[1:]), "video", tmp_path / "a.avi", *options) == 0
        rows = (output / "expressions.csv").read_text().splitlines()
        column = rows[0].split(",").index("time")
        assert float(rows[2].split(",")[column]) == pytest.approx(step, abs=1e-4)


def test_the_regressor_is_asked_unless_it_counts_for_nothing(made, tmp_path):
    """A network's answer moves the fit; with the weight 0 its weights are not even read."""
    folder = made[0]
    network = small_network()
    network.mean.bias.data += 5.0
    network.variance.bias.data += 3.0
    weights = tmp_path / "told.safetensors"
    save_checkpoint(weights, network, KIND, network.config)
    image = folder / "capture" / "images" / "01.png"
    words = ("image", image, "--focal-px", 127, "--no-overlay", "--output")
    assert command(made, *words, tmp_path / "told", "--regressor", weights) == 0
    off = ("--fit.reading", "0", "--regressor", tmp_path / "absent.safetensors")
    assert command(made, *words, tmp_path / "off", *off) == 0
    told, silent = (
        np.load(tmp_path / name / "fit.npz", allow_pickle=False)["identity"]
        for name in ("told", "off")
    )
    assert np.abs(told - silent).max() > 0.5


def test_bad_input_is_one_line(made, tmp_path, capsys):
    folder = made[0]
    image = folder / "capture" / "images" / "01.png"
    wrong = [
        ("image", image, "--output", tmp_path, "--focal-px", -3),
        ("image", folder / "none.png", "--output", tmp_path),
        ("capture", folder / "capture", "--output", tmp_path, "--views", "77"),
        ("capture", folder / "capture", "--output", tmp_path, "--unit", "mm"),
        ("image", image, "--output", tmp_path, "--regressor", image),
        ("video", folder / "capture" / "images", "--output", tmp_path, "--fps", 0),
        ("video", folder / "capture" / "images", "--output", tmp_path, "--every", 0),
    ]
    for words in wrong:
        assert command(made, *words) == 2
        assert capsys.readouterr().err.count("\n") == 1
