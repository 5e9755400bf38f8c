"""The shipped network on the shipped sample: the README's first command, measured."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.command import mvs

SAMPLE = Path(__file__).parents[2] / "data_samples" / "head"
RESULTS = ("points.ply", "cloud.ply", "mesh.ply")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Four neighbouring views of the sample."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("sparse", "masks"):
        shutil.copytree(SAMPLE / name, folder / name)
    (folder / "images").mkdir()
    for number in range(4, 8):
        shutil.copy(SAMPLE / "images" / f"{number:02d}.jpg", folder / "images")
    return folder


@pytest.fixture(scope="module")
def fused(few, tmp_path_factory):
    output = tmp_path_factory.mktemp("fused")
    assert mvs(*words_for(few, output), "--threads", 2).returncode == 0
    return output


def words_for(capture, output):
    return ["reconstruct", capture, "--output", output, "--until", "fuse", "--quiet", "--no-report"]


def test_the_head_is_there(tmp_path):
    words = [sys.executable, "-m", "mvs", "reconstruct", SAMPLE, "--output", tmp_path]
    subprocess.run([str(word) for word in words], capture_output=True, check=True)
    figures_json = tmp_path / "figures.json"
    done = mvs("evaluate", "reconstruction", SAMPLE, tmp_path, "--json", figures_json)
    assert "accuracy median" in done.stdout
    figures = json.loads(figures_json.read_text())
    assert figures.keys() == set(RESULTS)
    cloud = figures["cloud.ply"]
    assert cloud["accuracy"]["median"] <= 3.0
    (at_5_mm,) = (score for score in cloud["scores"] if score["threshold_mm"] == 5.0)
    assert at_5_mm["recall"] >= 0.80
    assert cloud["cube_error_mm"] < 8.0
    mesh = figures["mesh.ply"]
    assert mesh["accuracy"]["median"] <= 3.0
    assert mesh["completeness"]["median"] <= 3.0
    # Refined, by default: tenths of a millimetre, and the whole head.
    assert mesh["accuracy"]["median"] <= 0.15
    assert mesh["completeness"]["mean"] <= 0.8
    (at_1_mm,) = (score for score in mesh["scores"] if score["threshold_mm"] == 1.0)
    assert at_1_mm["f"] >= 0.88


def test_the_same_bytes_whatever_the_threads(few, fused, tmp_path):
    """From the network's maps on; ``stages/test_threads.py`` goes on from there."""
    assert mvs(*words_for(few, tmp_path), "--threads", 1).returncode == 0
    for name in ("points.ply", "cloud.ply"):
        assert digest(tmp_path / name) == digest(fused / name), name


def test_maps_written_and_read_give_the_same_head(few, fused, tmp_path):
    """A network's maps by way of files: at the picture's resolution, so not to the bit."""
    from plyfile import PlyData
    from scipy.spatial import cKDTree

    assert mvs("embed", few, "--output", tmp_path / "maps", "--quiet").returncode == 0
    maps = ["--embedder", "precomputed", "--cube-maps", tmp_path / "maps"]
    assert mvs(*words_for(few, tmp_path / "out"), *maps).returncode == 0
    clouds = []
    for folder in (fused, tmp_path / "out"):
        vertex = PlyData.read(str(folder / "cloud.ply"))["vertex"]
        clouds.append(np.column_stack([vertex[k] for k in "xyz"]))
    distance_mm = 1000 * cKDTree(clouds[0]).query(clouds[1])[0]
    assert np.median(distance_mm) < 2.0
