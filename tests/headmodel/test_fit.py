"""Heads recovered from exact maps, from spoilt ones, from halves, captures and videos."""

from dataclasses import replace

import numba
import numpy as np
import pytest

from calib.camera import Camera
from calib.scale import umeyama
from mvs.canonical.cube import CUBE_MM
from mvs.canonical.mesh_places import SurfaceMesh
from mvs.canonical.surface import Surface
from mvs.errors import ReconstructionError
from mvs.headmodel.energy import Energy, start_state
from mvs.headmodel.fit_capture import fit_views
from mvs.headmodel.fit_image import fit_image, fit_map
from mvs.headmodel.fit_video import VideoOptions, choose_keyframes, fit_maps, fit_video
from mvs.headmodel.observe import ObserveOptions, Observer
from mvs.headmodel.options import FitOptions
from mvs.headmodel.solve import SolveOptions, add_normal_equations
from mvs.headmodel.start import cube_from_model, place_in_view
from mvs.headmodel.state import columns
from mvs.headmodel.surface_term import Reconstruction, SurfaceOptions
from mvs.kernels.raster import vertex_normals
from mvs.network.crop import empty_cube_map
from tests.headmodel.maps import (
    MapEmbedder,
    camera_at,
    half_hidden,
    map_of,
    person,
    picture,
    place,
    pupils_mm,
    spoiled,
)
from tests.headmodel.models import small_flame, small_ict

# Maps that are exact are trusted.
EXACT = FitOptions(
    observe=ObserveOptions(blocks=10**6, floor=2e-4, reach=2e-3, max_gap=0.01),
    solve=SolveOptions(10, 1e-6),
    landmarks=0.0,
)
SURE = replace(EXACT, identity_sd=3.0, expression_sd=3.0)
MODELS = {"ict": small_ict, "flame": small_flame}


def face(model):
    """Vertices of the face, in front."""
    return np.flatnonzero(
        (model.topology.coords[:, 2] > 0.6) & (model.topology.coords[:, 1] > 0.35)
    )


def posed_error_mm(fit, truth, frame=0, aligned=True):
    """Mean distance between vertices of the face; up to a similarity where size is not seen."""
    rows = face(fit.model)
    found, truth = fit.vertices(frame)[rows], truth[rows]
    if aligned:
        found = umeyama(found, truth).points(found)
    return 1000 * np.linalg.norm(found - truth, axis=1).mean()


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param](1500)


def one_view(model, seed=1, joints=0.0, **camera):
    shape, at, taken = person(model, seed, joints=joints), place(model, 8.0), camera_at(**camera)
    return map_of(model, shape, at, taken), taken, at.points(model.vertices(shape)), shape


def test_exact_map(model):
    cube_map, camera, truth, _ = one_view(model)
    fit = fit_map(cube_map, camera, model, SURE)
    assert posed_error_mm(fit, truth) < 0.05
    # Its size is the prior's guess, its place on the picture is not.
    off = camera.project(fit.vertices())[0] - camera.project(truth)[0]
    assert np.linalg.norm(off[face(model)], axis=1).max() < 0.05
    assert not fit.warnings


def test_the_pupils_tell_the_size():
    model = small_ict(1500)
    cube_map, camera, truth, shape = one_view(model)
    known = replace(SURE, pupils_mm=pupils_mm(model, shape))
    off = [
        posed_error_mm(fit_map(cube_map, camera, model, options), truth, aligned=False)
        for options in (SURE, known)
    ]
    assert off[0] > 3.0
    assert off[1] < 1.0


def test_jaw_of_a_skinned_head():
    model = small_flame(1500)
    cube_map, camera, truth, shape = one_view(model, joints=0.15)
    fit = fit_map(cube_map, camera, model, replace(SURE, joint_sd=1.0))
    assert posed_error_mm(fit, truth) < 0.1
    jaw = model.joint_names.index("jaw")
    np.testing.assert_allclose(fit.joints[0][jaw], shape.joints[jaw], atol=0.02)


def test_unknown_focal_length():
    model = small_ict(1500)
    cube_map, camera, truth, _ = one_view(model, distance=0.3, focal=70.0)
    wrong = replace(camera, params=camera.params * [1.25, 1.25, 1, 1])
    fit = fit_map(cube_map, wrong, model, replace(SURE, fov_sd=1.0), knows_focal=False)
    assert fit.cameras[0][0].K[0, 0] == pytest.approx(70.0, rel=0.01)
    assert posed_error_mm(fit, truth) < 0.1
    held = fit_map(cube_map, wrong, model, SURE)
    assert held.cameras[0][0].K[0, 0] == wrong.K[0, 0]
    assert posed_error_mm(held, truth) > 1.0


def test_outliers_do_not_count(model):
    cube_map, camera, truth, _ = one_view(model)
    fit = fit_map(spoiled(cube_map, 0.2), camera, model, SURE)
    assert posed_error_mm(fit, truth) < 0.3
    loose = replace(SURE, bound=1e6, final_bound=1e6)
    assert posed_error_mm(fit_map(spoiled(cube_map, 0.2), camera, model, loose), truth) > 1.0


def test_landmarks_pull_like_the_pixels():
    model = small_ict(1500)
    cube_map, camera, truth, _ = one_view(model)
    observer = Observer(model, EXACT.observe)
    seen = observer.observe_landmarks(cube_map, camera, 2.0)
    assert len(seen) > 40
    assert (seen.weight == 2.0).all()
    off = np.linalg.norm(camera.project(places_of(seen, truth))[0] - seen.pixels, axis=1)
    # The small head has landmarks at its nearest vertices alone.
    assert np.median(off) < 1.5
    fit = fit_map(cube_map, camera, model, replace(SURE, landmarks=1e-3))
    assert posed_error_mm(fit, truth) < 0.1


def places_of(seen, vertices):
    return np.einsum("nk,nkc->nc", seen.places.shares, vertices[seen.places.corners])


def test_half_a_face(model):
    cube_map, camera, truth, _ = one_view(model)
    hidden = half_hidden(cube_map)
    fit = fit_map(hidden, camera, model, EXACT)
    assert posed_error_mm(fit, truth) < 1.0
    whole = fit_map(cube_map, camera, model, EXACT)
    x = camera.project(truth)[0][face(model), 0]
    there = face(model)[x > 40]
    assert fit.confidence[0][there].mean() < 0.5 * whole.confidence[0][there].mean()


def test_bounds_hold():
    model = small_ict(1500)
    shape = person(model, 1)
    shape.expression[:] = -0.8
    at, camera = place(model), camera_at()
    fit = fit_map(map_of(model, shape, at, camera), camera, model, EXACT)
    assert (fit.expressions >= 0).all()
    assert (fit.expressions <= 1).all()


def test_confidence_is_nothing_where_nothing_was_seen():
    model = small_ict(1500)
    cube_map, camera, _, _ = one_view(model)
    confidence = fit_map(cube_map, camera, model, EXACT).confidence[0]
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    behind = model.topology.coords[:, 2] < 0.2
    assert confidence[behind].max() < 1e-3
    assert np.median(confidence[face(model)]) > 0.4


def test_too_little_of_a_head():
    model = small_ict(1500)
    with pytest.raises(ReconstructionError, match="places of a head"):
        fit_map(empty_cube_map(8, 8), camera_at(), model)


def test_picture_and_its_embedder():
    model = small_ict(1500)
    cube_map, camera, truth, _ = one_view(model)
    embedder = MapEmbedder([cube_map])
    fit = fit_image(picture(0), embedder, model, SURE, camera=camera, name="me.png")
    assert fit.names == (("me.png",),)
    assert posed_error_mm(fit, truth) < 0.05
    with pytest.raises(ValueError, match="camera must be of the picture"):
        fit_image(picture(0, 50), embedder, model, SURE, camera=camera)
    free = fit_image(picture(0), embedder, model, EXACT)
    assert free.cameras[0][0].K[0, 2] == 32.0


def test_threads_do_not_change_a_byte():
    model = small_ict(1500)
    cube_map, camera, _, _ = one_view(model)
    before = numba.get_num_threads()
    found = []
    try:
        for n in (1, 2):
            numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
            found.append(fit_map(cube_map, camera, model, FitOptions()))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0].identity, found[1].identity)
    np.testing.assert_array_equal(found[0].expressions, found[1].expressions)
    np.testing.assert_array_equal(found[0].confidence, found[1].confidence)


def test_start_is_near():
    model = small_ict(1500)
    at, camera = place(model, 25.0), camera_at(-10.0)
    seen = Observer(model).observe(map_of(model, model.neutral(), at, camera), camera)
    found = place_in_view(seen, model.unit_m)
    angle = np.rad2deg(np.arccos((np.trace(found.rotation.T @ at.rotation) - 1) / 2))
    assert angle < 5
    middle = cube_from_model(model).inverse().points(np.full((1, 3), 0.5))
    assert np.linalg.norm(found.points(middle) - at.points(middle)) < 0.08


def several(model, seed=2, scale=1.0, azimuths=(-35.0, 0.0, 35.0)):
    """A head of a size of its own, seen by three cameras."""
    shape, at = person(model, seed), place(model, 5.0, scale, (0.02, 0.01, -0.03))
    cameras = [camera_at(azimuth) for azimuth in azimuths]
    maps = [map_of(model, shape, at, camera) for camera in cameras]
    return maps, cameras, at.points(model.vertices(shape))


def test_views_of_a_capture(model):
    maps, cameras, truth = several(model)
    fit = fit_views(maps, cameras, model, SURE, unit="m")
    assert posed_error_mm(fit, truth, aligned=False) < 0.1
    assert fit.world_from_model[0].scale == pytest.approx(model.unit_m)


def test_unit_of_a_capture_is_found():
    model = small_ict(1500)
    maps, cameras, truth = several(model, scale=1.3)
    fit = fit_views(maps, cameras, model, SURE)
    assert posed_error_mm(fit, truth, aligned=False) < 0.1
    held = fit_views(maps, cameras, model, EXACT, unit="m")
    assert held.world_from_model[0].scale == pytest.approx(model.unit_m)
    assert (fit.unit, held.unit) == (None, "m")


def test_captures_in_millimetres():
    model = small_ict(1500)
    maps, cameras, truth = several(model)
    grown = [
        Camera(c.model, c.width, c.height, c.params, c.cam_from_world * [1, 1, 1, 1000])
        for c in cameras
    ]
    fit = fit_views(maps, grown, model, SURE, unit="mm")
    assert fit.unit == "mm"
    assert fit.world_from_model[0].scale == pytest.approx(1000 * model.unit_m)
    assert np.linalg.norm(fit.vertices() - 1000 * truth, axis=1)[face(model)].mean() < 0.1


def test_one_view_without_a_unit_has_no_size():
    model = small_ict(1500)
    maps, cameras, _ = several(model)
    with pytest.raises(ReconstructionError, match="how large"):
        fit_views(maps[:1], cameras[:1], model)
    with pytest.raises(ValueError, match="cube maps and"):
        fit_views(maps, cameras[:1], model)


def _skin(model):
    """Faces that have places in the cube, and those of all vertices."""
    topology = model.topology
    known = np.isfinite(topology.coords).all(axis=1)
    coords = np.nan_to_num(topology.coords.astype(np.float64))
    return topology.faces[known[topology.faces].all(axis=1)], coords


def test_a_reconstruction_puts_biased_maps_right():
    model = small_ict(1500)
    maps, cameras, truth = several(model)
    biased = [replace(m, coords=m.coords + np.float32([0.0, 0.01, 0.0])) for m in maps]
    skin, coords = _skin(model)
    mesh = SurfaceMesh(truth, coords, np.ones(len(truth)), skin)
    scan = Reconstruction(mesh, model, SurfaceOptions(sigma_mm=0.1, reach_mm=2.0))
    how = replace(FitOptions(), normals=0.0, expression_sd=1.0)
    alone = fit_views(biased, cameras, model, how, unit="m")
    both = fit_views(biased, cameras, model, how, unit="m", scan=scan)

    def to_surface(fit):
        found = Surface(truth, skin).closest(fit.vertices()[face(model)])[2]
        return 1000 * np.linalg.norm(found - fit.vertices()[face(model)], axis=1).mean()

    assert to_surface(alone) > 1.0
    assert to_surface(both) < 0.4


def test_another_head_s_reconstruction_is_told():
    model = small_ict(1500)
    maps, cameras, truth = several(model)
    skin, coords = _skin(model)
    said = []
    for points in (truth, 1000 * truth):
        scan = Reconstruction(SurfaceMesh(points, coords, np.ones(len(coords)), skin), model)
        said.append(fit_views(maps, cameras, model, unit="m", scan=scan).warnings)
    assert said[0] == ()
    assert "hardly near" in said[1][0]


def test_a_head_from_behind(model):
    """No landmark is seen."""
    shape, at, camera = person(model, 2), place(model, 5.0), camera_at(180.0)
    fit = fit_map(map_of(model, shape, at, camera), camera, model)
    rows = model.topology.coords[:, 2] < 0.5
    found, truth = fit.vertices()[rows], at.points(model.vertices(shape))[rows]
    assert 1000 * np.linalg.norm(umeyama(found, truth).points(found) - truth, axis=1).mean() < 5


def test_slopes_of_an_unknown_scale():
    model = small_ict(1500)
    shape, at = person(model, 1), place(model, 3.0, 1.1)
    skin, coords = _skin(model)
    mesh = SurfaceMesh(at.points(model.vertices(shape)), coords, np.ones(len(coords)), skin)
    how = SurfaceOptions(gate_mm=100.0, cube_gate=1.0)
    energy = Energy(
        model,
        [],
        FitOptions(),
        knows_scale=False,
        knows_focal=True,
        scan=Reconstruction(mesh, model, how),
    )
    state = start_state(model, place(model))
    energy.look(state, 8.0)
    assert len(energy.pairs.targets) > 50
    half = add_normal_equations(energy.rows(state, True))[1]
    step = np.zeros(state.size)
    step[columns(model)["scale"]] = 1e-5
    ends = [sum(r.energy() for r in energy.rows(state.moved(k * step), False)) for k in (-1, 1)]
    slope = (ends[1] - ends[0]) / 2e-5
    assert 2 * half[columns(model)["scale"]][0] == pytest.approx(slope, rel=1e-5)


def test_hair_is_told_from_skin_by_where_it_lies_in_the_cube():
    """A surface 6 mm off the mean brow: hair if its coordinates say so, else a large head."""
    model = small_ict(1500)
    state = start_state(model, place(model))
    skin, coords = _skin(model)
    points = state.world_from_model.points(model.vertices(model.neutral()))
    outwards = vertex_normals(points.astype(np.float32), skin).astype(np.float64)
    brow = (coords[:, 1] > 0.62) & (coords[:, 2] > 0.6)
    lifted = points + np.where(brow[:, None], 0.006 * outwards, 0.0)
    canonical = vertex_normals(coords.astype(np.float32), skin).astype(np.float64)
    as_hair = coords + np.where(brow[:, None], 6.0 / CUBE_MM * canonical, 0.0)
    counts = []
    for said in (coords, as_hair):
        mesh = SurfaceMesh(lifted, said, np.ones(len(lifted)), skin)
        pairs = Reconstruction(mesh, model).pair(state, 16.0, 1000.0)
        at = np.nan_to_num(pairs.places.points(model.neutral()))
        above = at[:, 1] > np.quantile(model.vertices(model.neutral())[brow, 1], 0.3)
        front = at[:, 2] > np.quantile(model.vertices(model.neutral())[brow, 2], 0.3)
        counts.append((int((above & front).sum()), len(pairs.weight)))
    # At the lifted part's rim the coordinates are lifted halfway.
    assert counts[0][0] > 20
    assert counts[1][0] <= 0.1 * counts[0][0]
    assert counts[1][1] > 0.5 * counts[0][1]


def video(model, n=5):
    """A head that turns, with an expression that comes and goes."""
    shape, camera = person(model, 4, expression=0.0), camera_at()
    maps, truths, shapes = [], [], []
    for t in range(n):
        expression = shape.expression.copy()
        expression[model.expression_names.index("jawOpen")] = 0.5 * np.sin(np.pi * t / (n - 1))
        at = place(model, 7.0 * t - 14.0, 1.0, (0.004 * t, 0, 0))
        posed = replace(shape, expression=expression)
        maps.append(map_of(model, posed, at, camera))
        truths.append(at.points(model.vertices(posed)))
        shapes.append(posed)
    return maps, camera, truths, shapes


SURE_VIDEO = VideoOptions(
    keyframes=3,
    expression_change=1.0,
    turn_change=0.1,
    move_change=0.02,
    fit=replace(SURE, stages=2, solve=SolveOptions(6, 1e-6)),
)


def test_video():
    model = small_ict(1500)
    maps, camera, truths, shapes = video(model)
    fit = fit_maps(maps, camera, model, SURE_VIDEO)
    for t, truth in enumerate(truths):
        assert posed_error_mm(fit, truth, t) < 0.15
    jaw = model.expression_names.index("jawOpen")
    wanted = [shape.expression[jaw] for shape in shapes]
    np.testing.assert_allclose(fit.expressions[:, jaw], wanted, atol=0.05)


def test_frames_without_a_head_follow_the_others():
    model = small_ict(1500)
    maps, camera, truths, _ = video(model)
    maps[2] = empty_cube_map(8, 8)
    fit = fit_maps(maps, camera, model, SURE_VIDEO)
    assert "1 of 5 frames" in fit.warnings[0]
    assert not fit.confidence[2].any()
    assert posed_error_mm(fit, truths[3], 3) < 0.15
    # Between its neighbours.
    assert posed_error_mm(fit, truths[2], 2) < 1.5
    with pytest.raises(ReconstructionError, match="no frame"):
        fit_maps([empty_cube_map(8, 8)], camera, model)


def test_a_long_gap_keeps_the_person_and_the_expression():
    """Frames that show nothing bring no prior: 20 of them would draw all to the mean head."""
    model = small_ict(1500)
    shape, camera = person(model, 4, expression=0.0), camera_at()
    jaw = model.expression_names.index("jawOpen")
    shape.expression[jaw] = 0.6
    maps = [map_of(model, shape, place(model, a), camera) for a in (-10.0, -5.0, 5.0, 10.0)]
    hidden = [empty_cube_map(8, 8)] * 20
    whole = fit_maps(maps, camera, model, VideoOptions(fit=SURE))
    broken = fit_maps([*maps[:2], *hidden, *maps[2:]], camera, model, VideoOptions(fit=SURE))
    assert whole.expressions[:, jaw].min() > 0.5
    np.testing.assert_allclose(broken.expressions[:, jaw], whole.expressions[0, jaw], atol=0.05)
    off = np.linalg.norm(whole.identity - shape.identity)
    assert np.linalg.norm(broken.identity - shape.identity) < off + 0.1


def test_a_head_that_is_lost_is_found_again():
    model = small_ict(1500)
    shape, camera = person(model, 4, expression=0.0), camera_at()
    places = [place(model, 12 * t - 30.0, 1.0, (0.03 * t - 0.08, 0, 0.02 * t)) for t in range(6)]
    truths = [at.points(model.vertices(shape)) for at in places]
    maps = [map_of(model, shape, at, camera) for at in places]
    for t in (0, 2, 3):
        maps[t] = empty_cube_map(8, 8)
    fit = fit_maps(maps, camera, model)
    for t in (1, 4, 5):
        assert posed_error_mm(fit, truths[t], t, aligned=False) < 2.5
    for t in (2, 3):
        # It moved evenly.
        assert posed_error_mm(fit, truths[t], t, aligned=False) < 5.0
    # Nothing is known of the first.
    assert posed_error_mm(fit, truths[1], 0, aligned=False) < 5.0


def test_a_frame_with_too_little_of_a_head_is_bridged():
    model = small_ict(1500)
    maps, camera, truths, _ = video(model)
    flat = np.where(maps[2].mask[..., None], maps[2].coords[32, 32], 0).astype(np.float32)
    maps[2] = replace(maps[2], coords=flat)
    fit = fit_maps(maps, camera, model, SURE_VIDEO)
    assert "1 of 5 frames" in fit.warnings[0]
    assert posed_error_mm(fit, truths[2], 2) < 1.5


def test_video_of_pictures():
    model = small_ict(1500)
    maps, camera, truths, _ = video(model)
    frames = [(f"{t}.png", picture(t)) for t in range(len(maps))]
    found = [
        fit_video(iter(frames), MapEmbedder(maps), model, SURE_VIDEO, camera=camera, threads=n)
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(found[0].expressions, found[1].expressions)
    assert found[0].names == tuple((name,) for name, _ in frames)
    assert posed_error_mm(found[0], truths[4], 4) < 0.15
    with pytest.raises(ValueError, match=r"0\.png: camera must be of the picture, 64 x 64"):
        fit_video(iter(frames), MapEmbedder(maps), model, camera=camera_at(size=32))
    with pytest.raises(ReconstructionError, match="no frames"):
        fit_video(iter(()), MapEmbedder(maps), model)


def test_keyframes_differ():
    model = small_ict(1500)
    maps, camera, _, _ = video(model)
    seen = [Observer(model).observe(cube_map, camera) for cube_map in maps]
    chosen = choose_keyframes(seen, 3)
    assert len(set(chosen)) == 3
    assert {0, 4} <= set(chosen)


def test_options_are_checked():
    for wrong in ({"stages": 0}, {"bound": 0.0}, {"normals": -1.0}, {"fov_sd": 0.0}):
        with pytest.raises(ValueError):
            FitOptions(**wrong)
    for wrong in ({"blocks": 0}, {"floor": 0.0}, {"neck": 2.0}):
        with pytest.raises(ValueError):
            ObserveOptions(**wrong)
    for wrong in ({"keyframes": 0}, {"turn_change": 0.0}):
        with pytest.raises(ValueError):
            VideoOptions(**wrong)
    for wrong in ({"places": 0}, {"sigma_mm": 0.0}):
        with pytest.raises(ValueError):
            SurfaceOptions(**wrong)
    with pytest.raises(ValueError):
        SolveOptions(steps=0)
