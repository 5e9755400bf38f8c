"""The shipped network on the shipped sample: the README's first command, measured."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SAMPLE = Path(__file__).parents[2] / "data_samples" / "head"
RESULTS = ("points.ply", "cloud.ply", "mesh.ply")


def mvs(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "mvs", *map(str, arguments)],
        env=dict(os.environ, **environment),
        capture_output=True,
        text=True,
        check=True,
    )


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    output = tmp_path_factory.mktemp("sample")
    mvs("reconstruct", SAMPLE, "--output", output, "--threads", 2)
    return output


def test_the_head_is_there(result):
    done = mvs("evaluate", "reconstruction", SAMPLE, result, "--json", result / "figures.json")
    assert "accuracy median" in done.stdout
    figures = json.loads((result / "figures.json").read_text())
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


def test_the_same_bytes_whatever_the_threads(result, tmp_path):
    """As far as the network's maps go; ``stages/test_threads.py`` goes on from there."""
    mvs(
        *("reconstruct", SAMPLE, "--output", tmp_path, "--threads", 1, "--quiet"),
        *("--until", "triangulate", "--no-report"),
        OMP_NUM_THREADS="1",
    )
    assert digest(tmp_path / "points.ply") == digest(result / "points.ply")


def test_maps_written_and_read_give_the_same_head(result, tmp_path):
    """A network's maps by way of files: at the picture's resolution, so not to the bit."""
    from plyfile import PlyData
    from scipy.spatial import cKDTree

    mvs("embed", SAMPLE, "--output", tmp_path / "maps", "--quiet")
    mvs(
        *("reconstruct", SAMPLE, "--output", tmp_path / "out", "--until", "fuse", "--quiet"),
        *("--embedder", "precomputed", "--cube-maps", tmp_path / "maps"),
    )
    clouds = []
    for folder in (result, tmp_path / "out"):
        vertex = PlyData.read(str(folder / "cloud.ply"))["vertex"]
        clouds.append(np.column_stack([vertex[k] for k in "xyz"]))
    distance_mm = 1000 * cKDTree(clouds[0]).query(clouds[1])[0]
    assert np.median(distance_mm) < 2.0
