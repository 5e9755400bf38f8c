"""Error and flicker of sequences whose errors are known."""

import numpy as np
import pytest

from calib.files import replacing
from mvs.evaluation.sequence import evaluate_sequence, second_differences
from mvs.stages.ply import write_properties
from tests.scenes import unit_ball

NUMBERS = [0, 1, 2, 3, 5, 6, 7]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A ball of a decimetre that moves at even acceleration, in metres, and its coordinates."""
    folder = tmp_path_factory.mktemp("truth")
    unit, faces = unit_ball(24, 32)
    coords = 0.5 + 0.3 * unit
    points, paths = [], []
    for number in NUMBERS:
        places = 0.1 * unit + np.array([0.01 * number, 0.002 * number**2, 0])
        columns = {name: places[:, k] for k, name in enumerate("xyz")}
        columns |= {name: coords[:, k] for k, name in enumerate("uvw")}
        columns["part"] = np.zeros(len(unit), np.uint8)
        paths.append(folder / f"{number:06d}.ply")
        with replacing(paths[-1]) as stream:
            write_properties(stream, columns, faces)
        points.append(places)
    return np.stack(points), coords, paths


def test_what_is_right_has_no_error_and_no_flicker(truth):
    points, coords, paths = truth
    every = np.ones(len(coords), np.bool_)
    found = evaluate_sequence(NUMBERS, points, coords, every, paths, 1000.0)
    assert found.n_triples == 3  # 0 1 2, 1 2 3, 5 6 7
    assert found.n_vertices == len(coords)
    assert found.true["mean"] == pytest.approx(4.0, abs=1e-6)
    assert found.own["mean"] == pytest.approx(4.0, abs=1e-6)
    assert found.flicker["p90"] < 1e-6
    for frame in found.frames.values():
        assert frame["place"]["p90"] < 1e-6
        assert frame["surface"]["p90"] < 1e-6


def test_a_constant_error_is_no_flicker_and_noise_is(truth):
    points, coords, paths = truth
    every = np.ones(len(coords), np.bool_)
    shifted = evaluate_sequence(
        NUMBERS, points + np.array([0, 0.003, 0]), coords, every, paths, 1000.0
    )
    assert shifted.flicker["p90"] < 1e-6
    assert shifted.frames["000003"]["place"]["mean"] == pytest.approx(3.0)
    noise = np.random.default_rng(0).normal(0, 0.001, points.shape)
    noisy = evaluate_sequence(NUMBERS, points + noise, coords, every, paths, 1000.0)
    # Each axis of a second difference has the variance 1 + 4 + 1.
    assert noisy.jitter == pytest.approx(np.sqrt(3 * 6), rel=0.05)
    half = every & (coords[:, 1] > 0.5)
    assert evaluate_sequence(NUMBERS, points, coords, half, paths, 1.0).n_vertices == half.sum()


def test_differences_are_of_consecutive_frames_only():
    values = np.array([0.0, 1, 4, 9, 100, 1, 3])[:, None, None]
    found = second_differences(NUMBERS, values)
    assert found.ravel().tolist() == [2.0, 2.0, 101.0]
    assert second_differences([4], values[:1]).shape == (0, 1, 1)


def test_another_topology_is_refused(truth, tmp_path):
    points, coords, paths = truth
    unit, faces = unit_ball(8, 12)
    columns = {name: unit[:, k] for k, name in enumerate("xyz")}
    columns |= {name: unit[:, k] for k, name in enumerate("uvw")}
    columns["part"] = np.zeros(len(unit), np.uint8)
    with replacing(tmp_path / "other.ply") as stream:
        write_properties(stream, columns, faces)
    every = np.ones(len(coords), np.bool_)
    with pytest.raises(ValueError, match="not the topology"):
        evaluate_sequence([0, 1], points[:2], coords, every, [paths[0], tmp_path / "other.ply"], 1)
