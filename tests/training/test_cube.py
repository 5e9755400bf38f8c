import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d, map_coordinates

from mvs.canonical.regions import REGIONS
from mvs.training.cube import (
    CubeOptions,
    LatentCube,
    contrastive,
    landmark_loss,
    sample_map,
    segmentation_loss,
)


@pytest.fixture
def cube():
    torch.manual_seed(0)
    return LatentCube(CubeOptions(cells=7, features=5, smoothing=1.0))


def test_the_cube_is_smoothed_by_a_gaussian(cube):
    expected = cube.raw.detach().double().numpy()
    for axis in (1, 2, 3):
        expected = gaussian_filter1d(expected, 1.0, axis, mode="nearest", radius=3)
    np.testing.assert_allclose(cube.smoothed().detach(), expected, atol=1e-5)


def test_features_are_looked_up_between_the_cells_centres(cube):
    rng = np.random.default_rng(0)
    coords = rng.uniform(0, 1, (40, 3)).astype(np.float32)
    found = cube.look_up(torch.from_numpy(coords)).detach()
    # The grid's axes are w, v, u; the first centre is half a cell from the wall.
    places = coords[:, ::-1].T * 7 - 0.5
    for feature, values in enumerate(cube.smoothed().detach().numpy()):
        expected = map_coordinates(values, places, order=1, mode="nearest")
        np.testing.assert_allclose(found[:, feature], expected, atol=1e-5)


def test_features_draw_coordinates(cube):
    coords = torch.full((4, 3), 0.43, requires_grad=True)
    cube.look_up(coords).square().sum().backward()
    assert coords.grad.abs().min() > 0
    assert cube.raw.grad.abs().max() > 0


def test_contrast_is_the_norm_it_claims_to_be():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 6, 4))
    units = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in (first, second)]
    expected = np.linalg.norm(units[0] @ units[1].T - np.eye(6)) / np.sqrt(6)
    found = contrastive(torch.from_numpy(first), torch.from_numpy(second))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_contrast_is_least_for_matched_points_far_from_each_other():
    different = torch.eye(6)
    assert float(contrastive(different, different)) == pytest.approx(0, abs=1e-5)
    assert float(contrastive(different, different.roll(1, 0))) > 1.0
    assert float(contrastive(torch.ones(6, 6), torch.ones(6, 6))) > 1.0


def test_contrast_grows_with_the_distance_of_matched_points():
    """Points of two frames that are off in the cube by more and more."""
    torch.manual_seed(1)
    cube = LatentCube(CubeOptions(cells=24, features=32, smoothing=1.0))
    places = 0.1 + 0.8 * torch.rand(60, 3)
    away = torch.nn.functional.normalize(torch.randn(60, 3), dim=1)
    with torch.no_grad():
        contrasts = [
            float(contrastive(cube.look_up(places), cube.look_up(places + shift * away)))
            for shift in (0.0, 0.01, 0.02, 0.04, 0.08)
        ]
    assert (np.diff(contrasts) > 0).all()
    assert contrasts[-1] > contrasts[0] + 0.1


def test_landmark_loss_is_a_mean_of_absolute_differences():
    found, positions = torch.tensor([[0.1, 0.2, 0.3]] * 2), torch.tensor([[0.1, 0.0, 0.5]] * 2)
    assert float(landmark_loss(found, positions)) == pytest.approx(0.4)


def test_regions_are_learnt_by_their_place(cube):
    """Left and right of the middle are two regions; the classifier finds out which."""
    torch.manual_seed(2)
    coords = torch.rand(300, 3)
    regions = torch.where(coords[:, 0] < 0.5, REGIONS.index("skin"), REGIONS.index("hair"))
    optimiser = torch.optim.Adam(cube.parameters(), 0.05)
    for _ in range(60):
        loss = segmentation_loss(cube, cube.look_up(coords), regions)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    others = torch.rand(200, 3)
    others = others[(others[:, 0] - 0.5).abs() > 0.1]
    said = cube.classify(cube.look_up(others)).argmax(dim=1)
    right = torch.where(others[:, 0] < 0.5, REGIONS.index("skin"), REGIONS.index("hair"))
    assert float((said == right).float().mean()) > 0.95


def test_maps_are_read_at_pixels_of_the_picture():
    """A map of half the picture's size whose values are the picture's pixel coordinates."""
    y, x = torch.meshgrid(torch.arange(8) * 2 + 1.0, torch.arange(8) * 2 + 1.0, indexing="ij")
    points = torch.tensor([[3.3, 9.1], [1.0, 1.0], [14.9, 8.0]])
    torch.testing.assert_close(sample_map(torch.stack([x, y]), points, 16), points)


@pytest.mark.parametrize(
    "bad", [{"cells": 1}, {"features": 0}, {"smoothing": -1}, {"landmarks": -1}]
)
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError, match=r"must not be negative|needs"):
        CubeOptions(**bad)
