import math

import numpy as np
import pytest
import torch

from mvs.canonical.landmarks import landmark_positions
from mvs.network.compact import COORDS, MASK
from mvs.training.cube import CubeOptions
from mvs.training.data import Batch, to_batch
from mvs.training.objective import Objective, equivariance, warp
from mvs.training.pairs import random_warps

SIZE = 64


@pytest.fixture
def objective():
    torch.manual_seed(0)
    return Objective(CubeOptions(cells=8, features=6))


def plane_of_landmarks():
    """A batch of one picture whose first 68 pixels on the head show the landmarks."""
    coords, mask = torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE)
    coords.flatten(2)[0, :, :68] = torch.from_numpy(landmark_positions("68").T.copy())
    mask.flatten(2)[0, 0, :68] = 1
    normals = torch.zeros(1, 3, SIZE, SIZE)
    pictures = torch.zeros(1, 3, 2 * SIZE, 2 * SIZE, dtype=torch.uint8)
    return Batch(pictures, coords, mask, normals, mask[:, 0].long())


def answer(coords):
    out = torch.zeros(len(coords), 8, *coords.shape[2:])
    out[:, COORDS] = coords
    return out


def test_landmarks_are_found_where_they_are_seen(objective):
    batch = plane_of_landmarks()
    exact = objective.on_renders(answer(batch.coords), batch, 0)
    assert float(exact["landmarks"]) == pytest.approx(0, abs=1e-6)
    shifted = objective.on_renders(answer(batch.coords + 0.02), batch, 0)
    assert float(shifted["landmarks"]) == pytest.approx(0.06, rel=1e-4)


def test_right_coordinates_have_less_contrast_loss_than_wrong_ones():
    """In a cube whose cells are small enough to tell landmarks apart."""
    torch.manual_seed(0)
    objective = Objective(CubeOptions(cells=64, features=16))
    batch = plane_of_landmarks()
    flipped = batch.coords.flip(3)
    right, wrong = (
        float(objective.on_renders(answer(coords), batch, 0)["contrastive"].detach())
        for coords in (batch.coords, flipped)
    )
    assert right < wrong


def test_pictures_without_a_head_have_no_terms(objective, records_of_nobody):
    batch = to_batch(records_of_nobody, np.zeros(2, bool), 256)
    assert objective.on_renders(torch.zeros(2, 8, 128, 128), batch, 0) == {}
    assert float(objective.total({})) == 0


def test_the_total_is_weighted(objective):
    terms = {"contrastive": torch.tensor(2.0), "landmarks": torch.tensor(0.5)}
    assert float(objective.total(terms)) == pytest.approx(2.0 + 50 * 0.5)


def smooth_answer():
    """Coordinates that are the place in the picture, everywhere on the head."""
    y, x = torch.meshgrid(*[(torch.arange(SIZE) + 0.5) / SIZE * 2 - 1] * 2, indexing="ij")
    return answer(torch.stack([0.5 + 0.3 * x, 0.5 - 0.3 * y, 0.5 + 0 * x])[None].repeat(2, 1, 1, 1))


def test_an_answer_that_moves_with_the_picture_is_equivariant():
    out, mask = smooth_answer(), torch.ones(2, 1, SIZE, SIZE)
    warps = random_warps(2, torch.Generator().manual_seed(3))
    assert float(equivariance(out, warp(out, warps), warps, mask)) < 1e-3
    assert float(equivariance(out, out, warps, mask)) > 0.02


def test_equivariance_teaches_the_warped_answer_only():
    out = smooth_answer().requires_grad_()
    warped = smooth_answer().requires_grad_()
    warps = random_warps(2, torch.Generator().manual_seed(3))
    equivariance(out, warped, warps, torch.ones(2, 1, SIZE, SIZE)).backward()
    assert out.grad is None
    assert (warped.grad[:, COORDS] != 0).any()
    assert (warped.grad[:, MASK] == 0).all()


def test_warps_turn_scale_and_shift_within_bounds():
    warps = random_warps(500, torch.Generator().manual_seed(0))
    scale = torch.linalg.det(warps[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(warps[:, 1, 0], warps[:, 0, 0]))
    assert 0.8 <= scale.min() < 0.82
    assert 1.23 < scale.max() <= 1.2501
    assert 19 < angle.abs().max() <= 20.01
    assert warps[:, :, 2].abs().max() <= 0.1
    square = torch.matmul(warps[:, :, :2], warps[:, :, :2].transpose(1, 2))
    torch.testing.assert_close(square, torch.eye(2) * scale.square()[:, None, None])
    assert math.isclose(float(scale.log().mean()), 0, abs_tol=0.03)
