import os
import subprocess
import sys

import numpy as np
import pytest

from mvs.kernels.cholesky import solve_positive


def system(n, seed=0):
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 1, (n, n)) * np.geomspace(1, 100, n)
    # Not by BLAS, whose sums may depend on the number of threads.
    return np.einsum("ka,kb->ab", spread, spread) + np.eye(n), rng


@pytest.mark.parametrize("n", [0, 1, 2, 7, 60, 165])
@pytest.mark.parametrize("width", [None, 0, 1, 5])
def test_answers_are_those_of_lapack(n, width):
    matrix, rng = system(n)
    right = rng.normal(0, 1, n if width is None else (n, width))
    kept = matrix.copy(), right.copy()
    found = solve_positive(matrix, right)
    assert found.shape == right.shape
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(matrix @ found, right, atol=1e-9)
    np.testing.assert_array_equal(matrix, kept[0])
    np.testing.assert_array_equal(right, kept[1])


def test_sides_together_and_alone_have_the_same_bits():
    matrix, rng = system(40)
    right = rng.normal(0, 1, (40, 6))
    found = solve_positive(matrix, right)
    for side in range(6):
        np.testing.assert_array_equal(solve_positive(matrix, right[:, side]), found[:, side])


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1.0, 0.0, 2.0]), np.diag([1.0, -1.0, 2.0]), np.full((3, 3), np.nan), np.ones((3, 3))],
)
def test_others_are_refused(matrix):
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        solve_positive(matrix, np.ones(3))


@pytest.mark.parametrize("shapes", [((3, 2), (3,)), ((3, 3), (2,)), ((3, 3), (3, 1, 1))])
def test_wrong_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match=r"matrix must be \(P, P\)"):
        solve_positive(np.ones(shapes[0]), np.ones(shapes[1]))


SCRIPT = """
import numpy as np
from mvs.headmodel.solve import solve_bounded
from tests.kernels.test_cholesky import system
matrix, rng = system(165)
low, high = -rng.uniform(0, 1e-3, 165), rng.uniform(0, 1e-3, 165)
found = solve_bounded(matrix, rng.normal(0, 1, 165), low, high)
print(((found > low) & (found < high)).sum(), found.tobytes().hex())
"""


def test_bounded_answers_have_the_same_bits_for_any_number_of_threads():
    said = []
    for n in ("1", "2", "4"):
        environment = os.environ | {"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n}
        command = [sys.executable, "-c", SCRIPT]
        run = subprocess.run(command, env=environment, capture_output=True, check=True)
        said.append(run.stdout)
    assert said[0] == said[1] == said[2]
    assert int(said[0].split()[0]) > 20
