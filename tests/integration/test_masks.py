"""The real command on captures whose masks are wrong, or are the pictures' alpha."""

import json
import shutil

import cv2
import numpy as np
import pytest

from tests.integration.command import mvs
from tests.scenes import make_scene, write_capture, write_cube_maps


@pytest.fixture(scope="module")
def scene():
    return make_scene(4, 96)


@pytest.fixture(scope="module")
def paths(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    write_capture(scene, folder / "capture")
    write_cube_maps(scene, folder / "maps")
    return folder / "capture", folder / "maps"


@pytest.fixture
def capture(paths, tmp_path):
    shutil.copytree(paths[0], tmp_path / "capture")
    return tmp_path / "capture"


def reconstruct(capture, maps, output, *more):
    words = ("reconstruct", capture, "--output", output, *more)
    return mvs(*words, "--embedder", "precomputed", "--cube-maps", maps, "--quality", "draft")


def invert(capture, names):
    for name in names:
        path = str(capture / "masks" / f"{name}.png")
        cv2.imwrite(path, 255 - cv2.imread(path, cv2.IMREAD_GRAYSCALE))


def test_inverted_masks_end_the_run_with_one_line(scene, paths, capture, tmp_path):
    invert(capture, scene.names)
    done = reconstruct(capture, paths[1], tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("mvs: ")
    assert done.stderr.count("\n") == 1
    assert "4 of 4 masks look inverted" in done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".stages"]


def test_one_inverted_mask_is_named(scene, paths, capture, tmp_path):
    invert(capture, scene.names[1:2])
    done = reconstruct(capture, paths[1], tmp_path / "out", "--until", "embed")
    assert done.returncode == 0
    warnings = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert warnings[0].startswith("1 of 4 masks look inverted, they keep the edge")
    assert scene.names[1] in warnings[0]
    assert f"warning: {warnings[0]}\n" in done.stderr


def test_alpha_reconstructs_what_mask_files_do(scene, paths, capture, tmp_path):
    """The same points, byte by byte, from masks and from pictures with alpha."""
    for name in scene.names:
        image = cv2.imread(str(capture / "images" / name))
        mask = cv2.imread(str(capture / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(capture / "images" / name), np.dstack([image, mask]))
    shutil.rmtree(capture / "masks")
    for folder, output in ((paths[0], "files"), (capture, "alpha")):
        done = reconstruct(folder, paths[1], tmp_path / output, "--until", "triangulate")
        assert done.returncode == 0, done.stderr
    first, second = (tmp_path / output / "points.ply" for output in ("files", "alpha"))
    assert first.read_bytes() == second.read_bytes()
