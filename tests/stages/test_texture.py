import numba
import numpy as np
import pytest

from calib.capture import PinholeView
from mvs.errors import ReconstructionError
from mvs.kernels.raster import rasterise, vertex_normals
from mvs.kernels.spread import spread
from mvs.kernels.texture import Choice, Surface, blend
from mvs.stages.project import Target, stack_views
from mvs.stages.texture import TextureOptions, project_texture, texture
from mvs.stages.unwrap import unwrap
from mvs.types import Mesh
from tests.ball import (
    cloud_of,
    look_from,
    make_ball,
    make_views,
    paint,
    picture_of,
    rays_of,
    texel_points,
)
from tests.reference import texture as reference

SIZE = 256
OPTIONS = TextureOptions(size=SIZE)


@pytest.fixture(scope="module")
def ball():
    return make_ball()


@pytest.fixture(scope="module")
def views():
    return make_views()


@pytest.fixture(scope="module")
def textured(ball, views):
    return project_texture(ball.mesh, ball.uv, ball.uv_faces, views, OPTIONS)


def inside():
    """Texels whose places on the ball are known, and what is painted there."""
    points = texel_points(SIZE)
    known = np.isfinite(points[..., 0])
    return known, paint(points[known])


def test_the_paint_comes_back(textured):
    color, coverage = textured
    known, truth = inside()
    seen = coverage[known] == 255
    assert seen.mean() > 0.9
    error = np.abs(color[known][seen] - truth[seen])
    # Half a grey level of the pictures, half of the texture; the mesh is flat between vertices.
    assert error.mean() < 1.0
    assert np.quantile(error, 0.999) < 6.0


def test_the_background_stays_out(textured):
    """It is pure red; the paint is not."""
    color, _ = textured
    known, truth = inside()
    assert color[known][:, 1].min() > truth[:, 1].min() - 8


def test_exposures_are_brought_together(ball):
    gains = np.array([0.75, 1.2, 0.9, 1.1, 0.8, 1.25, 1.0, 0.85])
    views = make_views(gains=gains)
    known, truth = inside()
    spread_of = {}
    for is_balanced in (True, False):
        options = TextureOptions(size=SIZE, is_balanced=is_balanced)
        color, coverage = project_texture(ball.mesh, ball.uv, ball.uv_faces, views, options)
        seen = coverage[known] == 255
        ratio = color[known][seen] / truth[seen]
        spread_of[is_balanced] = (ratio / ratio.mean(axis=0)).std()
    assert spread_of[True] < 0.012
    assert spread_of[False] > 0.08


def test_what_lies_behind_never_takes_the_occluders_colour():
    """A green wall with a blue plate before it, each seen by four cameras."""
    wall = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], float)
    plate = np.array([0.3, 1, 0.3]) * wall + [0, -0.35, 0]
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    mesh = Mesh(cloud_of(np.concatenate([wall, plate]), np.tile([0.0, -1, 0], (8, 1))), faces)
    flat = (wall[:, [0, 2]] + 1) / 2
    uv = np.concatenate([flat * [0.5, 1], flat * [0.5, 1] + [0.5, 0]]).astype(np.float32)
    views = []
    for x, z in ((-1.5, 0.3), (1.5, 0.2), (0.2, 1.5), (-0.1, -1.4)):
        camera = look_from([x, -4, z], focal=300.0)
        rays = rays_of(camera)
        image = np.zeros((len(rays), 3), np.uint8)
        for y, half, color in ((0.0, 1.0, (0, 200, 0)), (-0.35, 0.3, (0, 0, 200))):
            hit = camera.center + ((y - camera.center[1]) / rays[:, 1])[:, None] * rays
            image[(np.abs(hit[:, [0, 2]]) < half).all(axis=1)] = color
        image = image.reshape(camera.height, camera.width, 3)
        views.append(PinholeView("", camera, image, np.ones(image.shape[:2], np.bool_)))
    options = TextureOptions(size=SIZE, is_balanced=False)
    color, coverage = project_texture(mesh, uv, faces, views, options)
    sides = {"wall": np.s_[:, : SIZE // 2], "plate": np.s_[:, SIZE // 2 :]}
    for name, expected in (("wall", [0, 200, 0]), ("plate", [0, 0, 200])):
        off = np.abs(color[sides[name]].astype(int) - expected)
        assert off.max() <= 8, name
    assert (coverage[sides["wall"]] > 0).mean() > 0.7
    # Each camera's ray to the wall's middle meets the plate.
    assert coverage[SIZE // 2, SIZE // 4] == 0


def test_masks_are_honoured(ball):
    """Half of each picture is spoilt, and masked."""
    views = []
    for k, view in enumerate(make_views(16)):
        image, mask = view.image.copy(), view.mask.copy()
        part = np.s_[:, :100] if k % 4 < 2 else np.s_[:, 100:]
        image[part], mask[part] = (255, 0, 255), False
        views.append(PinholeView(view.name, view.camera, image, mask))
    color, coverage = project_texture(ball.mesh, ball.uv, ball.uv_faces, views, OPTIONS)
    known, truth = inside()
    seen = coverage[known] == 255
    assert seen.mean() > 0.5
    assert np.quantile(np.abs(color[known][seen] - truth[seen]), 0.999) < 6.0


def test_what_no_view_sees_is_filled_from_around(ball):
    views = make_views()[:1]
    color, coverage = project_texture(ball.mesh, ball.uv, ball.uv_faces, views, OPTIONS)
    points = texel_points(SIZE)
    known = np.isfinite(points[..., 0])
    back = known & (points @ views[0].camera.center < 0)
    assert not coverage[back].any()
    seen = color[coverage == 255]
    # A harmonic function's extremes lie on the border.
    assert (color[back].min(axis=0) >= seen.min(axis=0) - 1.0).all()
    assert (color[back].max(axis=0) <= seen.max(axis=0) + 1.0).all()
    assert coverage[~known].max() == 0


def test_charts_are_widened_by_their_colours(textured):
    color, _ = textured
    margin = int(0.02 * SIZE)
    middle = slice(SIZE // 4, SIZE // 2)
    gap = color[middle, margin - 3].astype(int) - color[middle, margin + 1]
    assert np.abs(gap).max() < 12


def test_threads_change_nothing(ball, views, textured):
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        color, coverage = project_texture(ball.mesh, ball.uv, ball.uv_faces, views, OPTIONS)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(color, textured[0])
    np.testing.assert_array_equal(coverage, textured[1])


def test_a_moved_world_changes_nothing(ball, views, textured):
    """Far from the origin too, where a float has no digits left."""
    shift = np.array([3000.0, -500.0, 40.0])
    moved = [
        PinholeView(
            v.name,
            v.camera.with_pose(
                np.column_stack(
                    [v.camera.rotation, v.camera.translation - v.camera.rotation @ shift]
                )
            ),
            v.image,
            v.mask,
        )
        for v in views
    ]
    mesh = Mesh(cloud_of(ball.mesh.vertices.points + shift), ball.mesh.faces)
    color, _ = project_texture(mesh, ball.uv, ball.uv_faces, moved, OPTIONS)
    assert np.abs(color.astype(int) - textured[0]).max() <= 1


def test_large_pictures_are_shrunk_to_the_texels(ball):
    """Stripes finer than a texel become grey, not moire."""
    camera = look_from([4.5, 0, 0], size=800, focal=1680.0)
    image = picture_of(camera)
    stripes = np.broadcast_to((np.arange(800) // 2 % 2 * 200)[None, :, None], image.shape)
    view = PinholeView("", camera, stripes.astype(np.uint8), np.ones(image.shape[:2], np.bool_))
    options = TextureOptions(size=64, is_balanced=False, bands=(), powers=(8.0,))
    color, coverage = project_texture(ball.mesh, ball.uv, ball.uv_faces, [view], options)
    assert np.abs(color[coverage == 255].astype(int) - 100).max() < 25


def test_the_kernel_equals_the_slow_one(ball, views):
    mesh = ball.mesh
    points = mesh.vertices.points
    target = Target(points, mesh.faces, 0.02, 0.1, (0.05, 0.2))
    stack = stack_views(views, target)
    gains = np.random.default_rng(0).uniform(0.8, 1.2, stack.gains.shape)
    stack = stack._replace(gains=gains)
    normals = vertex_normals(points, mesh.faces).astype(np.float64)
    surface = Surface(points, normals, mesh.faces)
    choice = Choice(np.array([16.0, 6.0, 2.0]), 0.1, 0.002)
    face, weights = spread(points, mesh.faces, 300)
    weights = weights.astype(np.float32)
    found, expected = (f(face, weights, surface, stack, choice) for f in (blend, reference.blend))
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    np.testing.assert_allclose(found[0], expected[0], atol=2e-3)


def test_a_laid_out_mesh_overlaps_nowhere(ball):
    uv, uv_faces = unwrap(ball.mesh, SIZE)
    again = unwrap(ball.mesh, SIZE)
    assert (uv == again[0]).all()
    assert (uv_faces == again[1]).all()
    assert uv.min() >= 0
    assert uv.max() <= 1
    corners = uv[uv_faces].astype(np.float64) * 2048
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2
    flat = rasterise(
        uv * 2048.0, np.ones(len(uv)), uv_faces, (2048, 2048), cull_back=False, orthographic=True
    )
    assert (flat.face >= 0).sum() == pytest.approx(area, rel=0.01)
    assert area > 0.3 * 2048**2


def test_a_mesh_is_simplified_laid_out_and_coloured(ball, views):
    options = TextureOptions(size=SIZE, max_faces=2000)
    mesh, picture = texture(ball.mesh, views, options)
    assert 1500 < len(mesh.faces) <= 2000
    assert picture.uv_faces.shape == mesh.faces.shape
    face, weights = spread(mesh.vertices.points, mesh.faces, 2000)
    points = np.einsum("nk,nkc->nc", weights, mesh.vertices.points[mesh.faces[face]])
    uv = np.einsum("nk,nkc->nc", weights, picture.uv[picture.uv_faces[face]])
    row, column = ((1 - uv[:, 1]) * SIZE).astype(int), (uv[:, 0] * SIZE).astype(int)
    error = np.abs(picture.color[row, column] - paint(points))
    assert np.median(error) < 2.0
    assert np.quantile(error, 0.98) < 12.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 32}, "size"),
        ({"max_faces": 7}, "max_faces"),
        ({"powers": (1.0,)}, "powers"),
        ({"bands": (0.2, 0.1)}, "bands"),
        ({"min_cosine": 0.0}, "min_cosine"),
        ({"feather": -1.0}, "feather"),
    ],
)
def test_options_are_checked(change, says):
    with pytest.raises(ValueError, match=says):
        TextureOptions(**change)


def test_what_cannot_be_coloured_says_so(ball, views):
    away = look_from([0, 4.5, 0], target=(0, 9, 0))
    blind = [PinholeView("", away, views[0].image, views[0].mask)]
    with pytest.raises(ValueError, match="no view sees"):
        project_texture(ball.mesh, ball.uv, ball.uv_faces, blind, OPTIONS)
    with pytest.raises(ValueError, match="uv_faces"):
        project_texture(ball.mesh, ball.uv, ball.uv_faces[:5], views, OPTIONS)
    with pytest.raises(ValueError, match="rows of uv"):
        project_texture(ball.mesh, ball.uv[:5], ball.uv_faces, views, OPTIONS)
    collapsed = Mesh(cloud_of(np.ones((4, 3))), np.array([[0, 1, 2]], np.int32))
    with pytest.raises(ReconstructionError):
        unwrap(collapsed, SIZE)
