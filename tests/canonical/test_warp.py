"""Dense warps between exact maps of a known surface."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical.pictures import MappedPicture
from mvs.canonical.warp import WarpOptions, smooth_map, warp_flow, warp_image
from mvs.canonical.warp_files import write_warp
from mvs.errors import ReconstructionError
from mvs.network.crop import empty_cube_map
from tests.scenes import make_scene, perturb

SIZE = 192
SCENE = make_scene(n_views=3, size=SIZE, arc_deg=40.0)


def truth(a, b):
    """Where A sees what each pixel of B sees (NaN beside), and how much that faces A."""
    points = SCENE.surface_points(b)
    towards = SCENE.cameras[a].center - points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    pixels = np.full((SIZE, SIZE, 2), np.nan)
    facing = np.full((SIZE, SIZE), np.nan)
    mask = SCENE.cube_maps[b].mask
    pixels[mask] = SCENE.cameras[a].project(points)[0]
    facing[mask] = (SCENE.normals(points) * towards).sum(axis=1)
    return pixels, facing


def errors(flow, a, b, facing_at_least=0.3):
    true, facing = truth(a, b)
    off = np.linalg.norm(flow.pixels - true, axis=2)
    return off[flow.valid & (facing > facing_at_least)]


@pytest.mark.parametrize(("a", "b"), [(0, 1), (2, 1), (0, 2)])
def test_exact_maps_give_exact_flows(a, b):
    flow = warp_flow(SCENE.cube_maps[a], SCENE.cube_maps[b])
    off = errors(flow, a, b)
    _, facing = truth(a, b)
    assert flow.valid[facing > 0.4].mean() > 0.93
    assert np.sqrt((off**2).mean()) < 0.08
    assert off.max() < 0.4
    assert not flow.valid[facing < -0.2].any()
    assert not flow.valid[~SCENE.cube_maps[b].mask].any()
    assert np.median(flow.roundtrip[flow.valid]) < 0.1
    assert flow.confidence[flow.valid & (facing > 0.5)].min() > 0.8
    assert not flow.confidence[~flow.valid].any()


def test_unsmoothed_flows_are_exact_too_and_nearest_pixels_are_not():
    flow = warp_flow(SCENE.cube_maps[0], SCENE.cube_maps[1], WarpOptions(smooth_px=0))
    off = errors(flow, 0, 1)
    assert np.sqrt((off**2).mean()) < 0.02
    at = np.floor(flow.pixels) + 0.5
    assert np.sqrt((errors(replace(flow, pixels=at), 0, 1) ** 2).mean()) > 0.3


def test_noise_is_averaged_and_the_flow_is_smooth():
    pixel = SCENE.cube_scale / (2.6 * SIZE / 0.6)
    noisy = perturb(SCENE, bias=1e-9, noise=pixel)
    found = {s: warp_flow(noisy[0], noisy[1], WarpOptions(smooth_px=s)) for s in (0, 1.5, 2.5)}
    off = {s: np.sqrt((errors(flow, 0, 1) ** 2).mean()) for s, flow in found.items()}
    assert off[1.5] < 0.8 * off[0]
    assert off[2.5] < 0.65 * off[0]

    def roughness(flow):
        bends = np.diff(flow.displacement(), n=2, axis=1)
        return np.nanmedian(np.linalg.norm(bends, axis=2))

    assert roughness(found[1.5]) < 0.4 * roughness(found[0])


def test_a_way_back_is_the_way_there():
    there = warp_flow(SCENE.cube_maps[0], SCENE.cube_maps[1])
    back = warp_flow(SCENE.cube_maps[1], SCENE.cube_maps[0])
    y, x = np.nonzero(there.valid)
    at = np.floor(there.pixels[y, x]).astype(int)
    ends = back.pixels[at[:, 1], at[:, 0]]
    off = np.linalg.norm(ends - np.column_stack([x, y]) - 0.5, axis=1)
    assert np.nanmedian(off) < 1.0


def test_pictures_at_another_resolution_than_their_maps():
    half = replace(SCENE.cube_maps[0], image_from_map=np.array([[2.0, 0, 5], [0, 2.0, 7]]))
    flow = warp_flow(half, SCENE.cube_maps[1])
    whole = warp_flow(SCENE.cube_maps[0], SCENE.cube_maps[1])
    shown = flow.valid
    np.testing.assert_array_equal(shown, whole.valid)
    np.testing.assert_allclose(flow.pixels[shown], 2 * whole.pixels[shown] + [5, 7], atol=1e-3)
    larger = replace(SCENE.cube_maps[1], image_from_map=np.array([[2.0, 0, 0], [0, 2.0, 0]]))
    flow = warp_flow(SCENE.cube_maps[0], larger).at_picture(2 * SIZE, 2 * SIZE)
    blocks = flow.pixels.reshape(SIZE, 2, SIZE, 2, 2).mean(axis=(1, 3))
    off = np.linalg.norm(blocks - whole.pixels, axis=2)[whole.valid & (truth(0, 1)[1] > 0.5)]
    assert np.isfinite(off).mean() > 0.95
    assert np.nanpercentile(off, 95) < 0.1


def test_the_warped_picture_is_the_picture_of_the_other_view():
    """The scene's colours hang on the place alone: a warp of A looks like B."""
    flow = warp_flow(SCENE.cube_maps[0], SCENE.cube_maps[1])
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    warped = warp_image(SCENE.images[0], flow, blank)
    _, facing = truth(0, 1)
    good = flow.valid & (facing > 0.5)
    off = np.abs(warped.astype(int) - SCENE.images[1])[good]
    assert off.mean() < 3
    assert np.abs(SCENE.images[0].astype(int) - SCENE.images[1])[good].mean() > 15
    assert not warped[~flow.valid].any()


def test_wild_pixels_do_not_count_and_empty_maps_give_nothing():
    rng = np.random.default_rng(0)
    maps = []
    for cube_map in SCENE.cube_maps[:2]:
        wild = rng.random(cube_map.mask.shape) < 0.05
        coords = np.where(wild[..., None], rng.random(cube_map.coords.shape), cube_map.coords)
        coords[5:9] = np.nan
        maps.append(replace(cube_map, coords=coords.astype(np.float32)))
    off = errors(warp_flow(maps[0], maps[1]), 0, 1, 0.5)
    assert len(off) > 5000
    assert np.percentile(off, 95) < 0.4
    nothing = warp_flow(maps[0], empty_cube_map(8, 9))
    assert nothing.valid.shape == (8, 9)
    assert not nothing.valid.any()
    assert not warp_flow(empty_cube_map(8, 9), maps[0]).valid.any()


def test_smooth_maps_are_nearer_the_truth():
    pixel = SCENE.cube_scale / (2.6 * SIZE / 0.6)
    noisy = perturb(SCENE, bias=1e-9, noise=pixel)[1]
    true, mask = SCENE.cube_maps[1].coords, noisy.mask
    before = np.linalg.norm(noisy.coords - true, axis=2)[mask].mean()
    after = np.linalg.norm(smooth_map(noisy, 2.0).coords - true, axis=2)[mask].mean()
    assert after < 0.75 * before


def pictures():
    return [
        MappedPicture(n, i, m)
        for n, i, m in zip(SCENE.names, SCENE.images, SCENE.cube_maps, strict=True)
    ]


def test_files(tmp_path):
    a, b, _ = pictures()
    flow = write_warp(a, b, tmp_path)
    with np.load(tmp_path / "a_from_b.npz") as data:
        np.testing.assert_array_equal(data["pixels"], flow.pixels)
        assert set(data) == {"pixels", "confidence", "roundtrip", "valid"}
    raw = (tmp_path / "b_from_a.flo").read_bytes()
    assert np.frombuffer(raw[:4], "<f4")[0] == np.float32(202021.25)
    assert np.frombuffer(raw[4:12], "<i4").tolist() == [SIZE, SIZE]
    shifts = np.frombuffer(raw[12:], "<f4").reshape(SIZE, SIZE, 2)
    expected = warp_flow(b.cube_map, a.cube_map)
    np.testing.assert_allclose(shifts[expected.valid], expected.displacement()[expected.valid])
    assert (shifts[~expected.valid] == 1e10).all()
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert {"warp.png", "blend.png", "confidence.png"} < set(first)
    write_warp(a, b, tmp_path)
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes() == first[path.name]


def test_pictures_without_a_head_or_a_common_place(tmp_path):
    a, b, _ = pictures()
    empty = replace(b, cube_map=empty_cube_map(4, 4))
    with pytest.raises(ReconstructionError, match=r"view_01\.png: no head is seen"):
        write_warp(a, empty, tmp_path)
    far = replace(b.cube_map, coords=1 - b.cube_map.coords * 0.2)
    with pytest.raises(ReconstructionError, match="no place in common"):
        write_warp(a, replace(b, cube_map=far), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [{"smooth_px": -1.0}, {"max_gap": 0.0}, {"min_support": 2.0}, {"max_roundtrip_px": 0}],
)
def test_wrong_options_are_refused(changes):
    with pytest.raises(ValueError):
        WarpOptions(**changes)
