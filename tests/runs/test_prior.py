"""Runs that start from a surface known before: as good as those that do not, whatever it is."""

from dataclasses import replace

import numpy as np
import pytest

from calib.formats import read_capture
from mvs.pipeline import reconstruct
from mvs.stages.export import read_mesh
from mvs.stages.prior import Prior
from mvs.types import Mesh
from tests.runs.runs import DRAFT, FINE, SCENE, CountingEmbedder, digests, record, run
from tests.scenes import move_head, write_capture
from tests.stages.test_prior import motion_of

NOW = move_head(SCENE, motion_of((2, -4, 1), (0.008, -0.006, 0.01)))


class Embedder(CountingEmbedder):
    """Of the head that has moved."""

    def __init__(self):
        super().__init__()
        self.scene = NOW


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moved") / "capture"
    write_capture(NOW, folder)
    return read_capture(folder)


@pytest.fixture(scope="module")
def anew(moved, tmp_path_factory):
    """A run without a surface known before."""
    output = tmp_path_factory.mktemp("anew") / "out"
    run(moved, output, embedder=Embedder())
    return output


@pytest.fixture(scope="module")
def prior(whole):
    head = record(whole)["notes"]["head"]
    return Prior(read_mesh(whole / "mesh.ply"), np.array(head["center"]), head["radius"])


def spoiled(prior, kind):
    vertices = prior.surface.vertices
    center = prior.center
    if kind == "another place":
        away = np.array([0.12, -0.1, 0.15])
        vertices, center = replace(vertices, points=vertices.points + away), center + away
    elif kind in ("another head", "a head of another shape"):
        axes = np.array([1.05, 0.965, 1.03]) ** (1 if kind == "another head" else 4)
        vertices = replace(vertices, points=(vertices.points - SCENE.center) * axes + SCENE.center)
    elif kind == "a smaller part":
        keep = vertices.points[:, 1] > np.quantile(vertices.points[:, 1], 0.1)
        return replace(prior, surface=part(prior.surface, keep))
    elif kind == "nonsense":
        vertices = replace(vertices, coords=vertices.coords[::-1])
    elif kind == "out of sight":
        away = np.array([5.0, 0.0, 0.0])
        vertices, center = replace(vertices, points=vertices.points + away), center + away
    return Prior(Mesh(vertices, prior.surface.faces), center, prior.radius)


def part(surface, keep):
    number = np.cumsum(keep) - 1
    faces = surface.faces[keep[surface.faces].all(axis=1)]
    return Mesh(surface.vertices.rows(keep), number[faces].astype(np.int32))


def error(output):
    """Median and 95 % quantile of the mesh's distance, and of its places' in the cube, metres."""
    vertices = read_mesh(output / "mesh.ply").vertices
    off = np.linalg.norm(vertices.coords - NOW.coords(vertices.points), axis=1) / NOW.cube_scale
    distances = (NOW.distance(vertices.points), off)
    return np.array([np.quantile(values, share) for values in distances for share in (0.5, 0.95)])


@pytest.mark.parametrize("kind", ["right", "another place", "another head", "a smaller part"])
def test_the_result_is_as_good_as_without(moved, anew, prior, tmp_path, kind):
    embedder = Embedder()
    run(moved, tmp_path / "out", embedder=embedder, prior=spoiled(prior, kind))
    found = record(tmp_path / "out")
    assert found["notes"]["prior"]["taken"]
    # The head was not looked for, and nothing was matched.
    assert embedder.found == []
    assert not {"match", "triangulate"} & found["cpu_seconds"].keys()
    assert (error(tmp_path / "out") < 1.3 * error(anew) + 1e-4).all()
    n, n_anew = (len(read_mesh(at / "mesh.ply").vertices) for at in (tmp_path / "out", anew))
    assert n == pytest.approx(n_anew, rel=0.05)
    # The head's sphere went along.
    head, there = found["notes"]["head"], record(anew)["notes"]["head"]
    assert np.linalg.norm(np.subtract(head["center"], there["center"])) < 0.03 * there["radius"]


@pytest.mark.parametrize("kind", ["a head of another shape", "nonsense", "out of sight"])
def test_what_does_not_fit_changes_no_byte(moved, anew, prior, tmp_path, kind):
    run(moved, tmp_path / "out", embedder=Embedder(), prior=spoiled(prior, kind))
    assert not record(tmp_path / "out")["notes"]["prior"]["taken"]
    assert digests(tmp_path / "out") == digests(anew)


def test_runs_with_and_without_share_a_folder(moved, anew, prior, tmp_path):
    output = tmp_path / "out"
    run(moved, output, embedder=Embedder())
    run(moved, output, embedder=Embedder(), prior=prior)
    followed = digests(output)
    assert "points.ply" not in followed
    assert followed != digests(anew)
    again = Embedder()
    run(moved, output, embedder=again, prior=prior)
    assert digests(output) == followed
    assert again.mapped == []
    # Another surface is another start.
    other = replace(prior, radius=1.01 * prior.radius)
    run(moved, output, embedder=Embedder(), prior=other)
    assert digests(output) != followed
    run(moved, output, embedder=Embedder())
    assert digests(output) == digests(anew)


def test_a_prior_is_for_refinement(moved, prior, tmp_path):
    for options, until in ((DRAFT, "mesh"), (FINE, "match")):
        with pytest.raises(ValueError, match="refine"):
            reconstruct(moved, Embedder(), tmp_path / "out", options, until, prior=prior)
