"""The same pictures with their cameras in each format give the same mesh."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from calib.formats import FORMATS, read_capture
from calib.write import write_capture
from mvs.cli.main import run
from mvs.stages.ply import read_ply
from tests.scenes import make_scene, write_cube_maps
from tests.scenes import write_capture as write_scene


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    scene = make_scene(4, 120, shift=(0.0, 0.0))  # as Bundler wants it
    write_scene(scene, folder / "colmap")
    write_cube_maps(scene, folder / "maps")
    reconstruct(folder / "colmap", folder)
    return folder


def reconstruct(capture, folder):
    maps = ["--embedder", "precomputed", "--cube-maps", str(folder / "maps")]
    output = ["--output", str(folder / f"out_{capture.name}"), "--quality", "draft", "--quiet"]
    assert run(["reconstruct", str(capture), *output, *maps]) == 0
    return read_ply(folder / f"out_{capture.name}" / "mesh.ply")


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"colmap"}))
def test_each_format_reconstructs_to_the_same_mesh(sample, name):
    truth, _ = read_ply(sample / "out_colmap" / "mesh.ply")
    write_capture(sample / name, read_capture(sample / "colmap"), name)
    assert read_capture(sample / name).format == name
    cloud, faces = reconstruct(sample / name, sample)
    assert len(faces) > 500
    # A pixel is two millimetres wide here.
    for a, b in ((cloud, truth), (truth, cloud)):
        distance = cKDTree(a.points).query(b.points)[0]
        assert np.median(distance) < 1e-6
        assert np.quantile(distance, 0.99) < 1e-3
