"""Photographs to a capture: poses against exact truth, and a plain word on what cannot be used."""

import json

import cv2
import numpy as np
import pycolmap
import pytest

from calib.colmap import write_colmap
from calib.formats import read_capture
from calib.photo_features import (
    FeatureOptions,
    Photo,
    copy_name,
    database,
    extract,
    find_photos,
    read_photos,
    sharpness,
)
from calib.photo_mapping import LensOptions, write_images
from calib.photo_verdict import explain
from calib.photos import PhotosOptions, calibrate_photos, group_photos
from mvs.cli import main
from tests.calib.captures import make_capture
from tests.calib.sphere import (
    FOCAL,
    HEIGHT,
    N_VIEWS,
    WIDTH,
    jpeg_with_exif,
    pose_errors,
    sphere_camera,
    sphere_picture,
    write_photos,
)

TRUTH = {f"{index}.png": sphere_camera(index) for index in range(N_VIEWS)}


def model_bytes(folder):
    files = [*sorted((folder / "sparse/0").iterdir()), folder / "photos.json"]
    return [file.read_bytes() for file in files]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight good photos, and what people also have in the folder."""
    folder = tmp_path_factory.mktemp("photos")
    pictures = write_photos(folder)
    images = folder / "images"
    cv2.imwrite(str(images / "black.png"), np.zeros_like(pictures[0]))
    cv2.imwrite(str(images / "blurred.png"), cv2.GaussianBlur(pictures[3], (0, 0), 12))
    half = cv2.imencode(".jpg", pictures[0])[1].tobytes()
    (images / "cut.jpg").write_bytes(half[: len(half) // 2])
    (images / "empty.png").write_bytes(b"")
    (images / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def result(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("result") / "capture"
    stages = {}
    options = PhotosOptions(features=FeatureOptions(threads=1))
    verdict = calibrate_photos(
        photos, output, options, lambda stage, done, n: stages.update({stage: (done, n)})
    )
    return output, verdict, stages


def test_the_poses_are_right(result):
    output, verdict, _ = result
    found = read_capture(output)
    assert [view.name for view in found.views] == sorted(TRUTH)
    degrees, distances = pose_errors(found, TRUTH)
    assert degrees.max() < 0.2
    assert distances.max() < 0.006
    assert verdict.lenses[0].focal_px == pytest.approx(FOCAL, rel=0.02)
    assert verdict.lenses[0].source == "found"
    assert verdict.median_error_px < 0.5
    assert all(view.mask_path is not None for view in found.views)
    assert found.views[0].load_image().shape == (HEIGHT, WIDTH, 3)


def test_the_verdict_says_why(result):
    output, verdict, stages = result
    assert (verdict.n_registered, verdict.n_photos) == (8, 12)
    assert verdict.left_out["black.png"] == "too few features: nothing but one brightness"
    assert "blurred" in verdict.left_out["blurred.png"]
    assert verdict.left_out["cut.jpg"].startswith("unreadable: ")
    assert verdict.left_out["empty.png"].startswith("unreadable: ")
    assert len(verdict.left_out) == 4
    said = json.loads((output / "photos.json").read_text())
    assert said == json.loads(json.dumps(verdict.as_json()))
    assert said["sentence"].startswith("8 of 12 photos have a pose, to 0.")
    assert set(stages) == {"read", "features", "match", "map", "adjust"}
    assert all(done == n for done, n in stages.values())


def test_the_command_gives_the_same_bytes_on_two_threads(photos, result, tmp_path, capfd):
    output = tmp_path / "again"
    code = main.run(["calib", "photos", str(photos), "--output", str(output), "--threads", "2"])
    out, err = capfd.readouterr()
    assert code == 0
    assert "8 of 12" in out
    assert "too few features: nothing but one brightness" in out
    assert [line for line in err.splitlines() if not line.startswith("warning: ")] == []
    assert model_bytes(output) == model_bytes(result[0])


def test_a_lens_of_each_photo_and_a_focal_length_that_is_held(photos, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(2, 6):
        (images / f"{index}.png").symlink_to(photos / f"images/{index}.png")
    options = PhotosOptions(
        masks=photos / "masks",
        intrinsics="each",
        pictures="link",
        lenses=LensOptions("RADIAL", FOCAL),
        features=FeatureOptions(threads=2),
    )
    verdict = calibrate_photos(tmp_path, tmp_path / "out", options)
    assert find_photos(images, [tmp_path / "out"]) == ["2.png", "3.png", "4.png", "5.png"]
    assert find_photos(tmp_path, [tmp_path / "out"]) == [f"images/{k}.png" for k in range(2, 6)]
    assert verdict.n_registered == 4
    assert [lens.model for lens in verdict.lenses] == ["RADIAL"] * 4
    assert len({lens.params for lens in verdict.lenses}) == 4
    assert [lens.focal_px for lens in verdict.lenses] == [FOCAL] * 4
    assert verdict.lenses[0].source == "given"
    assert (tmp_path / "out/images/2.png").is_symlink()
    degrees, distances = pose_errors(read_capture(tmp_path / "out"), TRUTH)
    assert degrees.max() < 0.5
    assert distances.max() < 0.02


def test_features_lie_only_where_the_mask_is_not_zero(tmp_path):
    write_photos(tmp_path, 2)
    (tmp_path / "masks/1.png.png").unlink()
    work = tmp_path / "work"
    work.mkdir()
    names = find_photos(tmp_path / "images", [])
    options = FeatureOptions(threads=1)
    found, _ = read_photos(tmp_path / "images", names, tmp_path / "masks", work, lambda *_: None)
    write_images(work, found, LensOptions())
    counts = extract(work, 2, options, lambda *_: None)
    with database(work) as data:
        at = [data.read_keypoints(key)[:, :2].astype(int) for key in (1, 2)]
    inside = [sphere_picture(sphere_camera(k))[1][at[k][:, 1], at[k][:, 0]] for k in (0, 1)]
    assert min(counts) > 200
    assert inside[0].all()
    assert not inside[1].all()


def test_exif_gives_the_focal_length_and_turns_nothing(tmp_path):
    picture = sphere_picture(sphere_camera(0))[0]
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg_with_exif(picture, 6, 50))
    (tmp_path / "work").mkdir()
    (photo,), _ = read_photos(tmp_path, [path.name], None, tmp_path / "work", lambda *_: None)
    assert photo.size == (WIDTH, HEIGHT)
    diagonal = np.hypot(WIDTH, HEIGHT)
    assert photo.exif_focal_px == pytest.approx(50 * diagonal / np.hypot(36, 24), rel=1e-3)
    seen = pycolmap.Bitmap.read(path, as_rgb=False)
    assert (seen.width, seen.height) == photo.size
    assert seen.exif_orientation() == 6
    copy = cv2.imread(str(tmp_path / "work" / copy_name(0)), cv2.IMREAD_GRAYSCALE)
    assert np.abs(copy.astype(int) - picture[..., 0]).mean() < 4


def test_too_few_photos_change_nothing(photos, tmp_path, capfd):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("0.png", "black.png", "cut.jpg", "5.png"):
        (images / name).write_bytes((photos / "images" / name).read_bytes())
    output = tmp_path / "out"
    (output / "sparse/0").mkdir(parents=True)
    (output / "sparse/0/cameras.bin").write_bytes(b"an older result")
    (output / "photos.json").write_text("{}")
    code = main.run(["calib", "photos", str(tmp_path), "--output", str(output), "--threads", "1"])
    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    line = err.strip().splitlines()[-1]
    assert "fewer than 3 of 4 photos get a pose" in line
    assert "cut.jpg: unreadable" in line
    assert "black.png: too few features" in line
    kept = {"sparse", "0", "cameras.bin", "photos.json"}
    assert {path.name for path in output.rglob("*")} == kept
    assert (output / "sparse/0/cameras.bin").read_bytes() == b"an older result"


def test_what_others_wrote_is_not_overwritten(photos, tmp_path, capfd):
    own = tmp_path / "own"
    write_colmap(own, make_capture(own))
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    (tmp_path / "pictures/images").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for source, output, says in (
        (own, own, "own: holds a capture already"),
        (photos, tmp_path / "pictures", "images: exists already"),
        (photos, tmp_path / "file", "file: is no folder"),
    ):
        assert main.run(["calib", "photos", str(source), "--output", str(output)]) == 2
        assert says in capfd.readouterr().err
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_inverted_masks_are_refused(photos, tmp_path, capfd):
    names = [f"{k}.png" for k in range(4)]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in names:
        picture = (photos / "images" / name).read_bytes()
        (tmp_path / "images" / name).write_bytes(picture)
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        mask[HEIGHT // 6 : -HEIGHT // 6, WIDTH // 6 : -WIDTH // 6] = 0
        cv2.imwrite(str(tmp_path / "masks" / name), mask)
    output = tmp_path / "out"
    assert main.run(["calib", "photos", str(tmp_path), "--output", str(output)]) == 2
    assert "4 of 4 masks look inverted" in capfd.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/nowhere"], "/nowhere: no such folder"),
        ([".", "--lens", "GLASS"], "lens must be auto or one of SIMPLE_PINHOLE"),
        ([".", "--focal", "-3"], "focal must be positive"),
        ([".", "--threads", "0"], "threads must be at least 1"),
        ([".", "--masks", "/nowhere"], "/nowhere: no such folder"),
        (["tests/calib"], "tests/calib: holds no photos"),
    ],
)
def test_bad_arguments_get_one_line(tmp_path, capfd, arguments, says):
    code = main.run(["calib", "photos", *arguments, "--output", str(tmp_path / "out")])
    err = capfd.readouterr().err
    assert code == 2
    assert err.startswith("mvs: ")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "out").exists()


def photo(name, size=(40, 30), focal=None, sharp=0.8):
    return Photo(name, None, None, size, sharp, True, focal, None)


def test_what_shares_a_camera():
    alike = [photo("a/1"), photo("a/2"), photo("b/1")]
    assert group_photos(alike, "auto") == ["", "", ""]
    assert group_photos(alike, "folder") == ["a", "a", "b"]
    assert group_photos(alike, "each") == ["a/1", "a/2", "b/1"]
    zoomed = [*alike[:2], photo("b/1", focal=50.0)]
    assert group_photos(zoomed, "auto") == ["a/1", "a/2", "b/1"]
    assert group_photos(zoomed, "shared") == ["", "", ""]
    turned = [*alike[:2], photo("b/1", (30, 40))]
    assert group_photos(turned, "folder") == ["a", "a", "b"]
    with pytest.raises(ValueError, match=r"a/1 \(40 x 30\) and b/1 \(30 x 40\) differ"):
        group_photos(turned, "shared")


def test_reasons():
    photos = [photo(str(k), sharp=0.4 if k == 6 else 0.8) for k in range(1, 8)]
    matches = {(1, 2): 90, (2, 3): 80, (4, 5): 40, (3, 7): 33, (1, 6): 9}
    reasons = explain(photos, [500] * 7, matches, [[1, 2, 3], [4, 5]])
    assert reasons == {
        "4": "in another, smaller model of 2 photos",
        "5": "in another, smaller model of 2 photos",
        "6": "too few matches with any other photo; blurred",
        "7": "matches (up to 33 with one photo), but no pose fits",
    }
    assert explain(photos[:1], [7], {}, []) == {"1": "too few features (7)"}


def test_sharpness_is_that_of_detail_and_hardly_of_contrast():
    picture = sphere_picture(sphere_camera(0))[0][..., 0]
    sharp = sharpness(picture)
    assert sharpness(picture // 2) == pytest.approx(sharp, abs=0.1)
    blurred = [sharpness(cv2.GaussianBlur(picture, (0, 0), sigma)) for sigma in (1, 3, 9)]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    assert sharpness(np.zeros((9, 9), np.uint8)) == 0
