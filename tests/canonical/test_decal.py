"""Decals, atlas textures, and textures gathered from views, on exact maps of the template."""

import numpy as np
import pytest

from calib.camera import Camera
from calib.capture import CaptureError
from mvs.canonical.atlas import atlas_coords, atlas_places
from mvs.canonical.decal import (
    AtlasTexture,
    Decal,
    PaintOptions,
    decal_place,
    paint_picture,
    paint_vertices,
    read_texture,
)
from mvs.canonical.meshes import CubeMesh
from mvs.canonical.template import load_template
from mvs.canonical.texture import (
    AtlasMesh,
    GatherOptions,
    Layer,
    gather,
    layer_of_map,
    texture_of_pictures,
)
from mvs.errors import ReconstructionError
from mvs.kernels.raster import rasterise
from mvs.network.crop import empty_cube_map
from mvs.types import CubeMap

SIZE = 256
HEAD = load_template()
ROOM = np.array([[0.5, 0.55, 0.5]])


def camera_at(yaw_deg):
    """A pinhole camera around the template, which stands in the world as in the cube."""
    yaw = np.deg2rad(yaw_deg)
    out = np.array([np.sin(yaw), 0, np.cos(yaw)])
    rotation = np.stack([[np.cos(yaw), 0, -np.sin(yaw)], [0, -1, 0], -out])
    pose = np.column_stack([rotation, -rotation @ (ROOM[0] + 2.2 * out)])
    params = np.array([2.4 * SIZE, 2.4 * SIZE, SIZE / 2, SIZE / 2])
    return Camera("PINHOLE", SIZE, SIZE, params, pose)


def color_of(coords):
    """Smooth colours that tell places apart."""
    waves = np.sin(coords * [23.0, 19.0, 17.0] + [0, 1, 2])
    return 140 + 70 * waves


def photograph(yaw_deg, gain=1.0):
    """Picture (H, W, 3) and exact cube map of the template, and its camera."""
    camera = camera_at(yaw_deg)
    pixels, depth = camera.project(HEAD.coords.astype(np.float64))
    seen = rasterise(pixels, depth, HEAD.faces, (SIZE, SIZE))
    mask = seen.face >= 0
    corners = HEAD.coords[HEAD.faces[np.maximum(seen.face, 0)]]
    coords = np.einsum("hwk,hwkc->hwc", seen.barycentric, corners).astype(np.float32)
    image = np.where(mask[..., None], color_of(coords) * gain, 30)
    cube_map = CubeMap(coords, mask.astype(np.float32), mask, np.eye(2, 3))
    return np.clip(image, 0, 255).astype(np.uint8), cube_map, camera


def checks():
    texture = np.zeros((40, 40, 4), np.uint8)
    texture[..., 3] = 255
    texture[:20, :20, 0] = texture[:20, 20:, 1] = texture[20:, :20, 2] = 255
    return texture


def test_a_decal_lies_at_its_place_upright_and_not_mirrored():
    decal = Decal(checks(), decal_place(("nose_tip",)), 0.1)
    _, cube_map, camera = photograph(0)
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    painted = paint_picture(grey, cube_map, decal, PaintOptions(shading=0))
    middle = camera.project(decal.center[None])[0][0]
    x, y = np.floor(middle).astype(int)
    assert painted[y - 6, x - 6].argmax() == 0  # red: upper left for who looks at it
    assert painted[y - 6, x + 6].argmax() == 1
    assert painted[y + 6, x - 6].argmax() == 2
    changed = (painted != grey).any(axis=2)
    rows, columns = np.nonzero(changed)
    scale = 2.4 * SIZE / 2.2  # about: pixels per unit of the cube
    assert abs(np.ptp(columns) - 0.1 * scale) < 0.15 * 0.1 * scale
    assert abs(rows.mean() - middle[1]) < 3


def test_decals_turn_and_stay_on_their_side():
    place = decal_place(("cheek_left",))
    plain, turned = (Decal(checks(), place, 0.08, angle) for angle in (0.0, 90.0))
    right, up, normal = plain.frame()
    np.testing.assert_allclose(turned.frame()[0], up, atol=1e-9)
    np.testing.assert_allclose(np.cross(right, up), normal, atol=1e-9)
    other = np.array([[1 - place[0], place[1], place[2]]], np.float32)
    assert plain.sample(other, 1e-3)[0, 3] == 0
    behind = (place - 0.3 * normal)[None].astype(np.float32)
    assert plain.sample(behind, 1e-3)[0, 3] == 0
    # A quarter turn counter-clockwise takes what was on the right to the top.
    at = (place + 0.02 * right + 0.02 * up)[None].astype(np.float32)
    over = (place - 0.02 * right + 0.02 * up)[None].astype(np.float32)
    np.testing.assert_allclose(plain.sample(at, 1e-4)[0], turned.sample(over, 1e-4)[0], atol=1e-3)


def test_shading_opacity_and_doubt_are_respected():
    image, cube_map, _ = photograph(0)
    dark = image.copy()
    dark[:, SIZE // 2 :] //= 3
    white = np.full((8, 8, 4), 255, np.uint8)
    decal = Decal(white, decal_place(("forehead_center",)), 0.15)
    shaded = paint_picture(dark, cube_map, decal)
    changed = (paint_picture(dark, cube_map, decal, PaintOptions(shading=0)) == 255).all(axis=2)
    assert changed.sum() > 300
    left, right = shaded[:, : SIZE // 2 - 8], shaded[:, SIZE // 2 + 8 :]
    bright = left[changed[:, : SIZE // 2 - 8]].mean()
    assert right[changed[:, SIZE // 2 + 8 :]].mean() < 0.6 * bright
    unsure = np.full_like(cube_map.confidence, 0.01)
    doubtful = CubeMap(cube_map.coords, unsure, cube_map.mask, cube_map.image_from_map)
    np.testing.assert_array_equal(paint_picture(dark, doubtful, decal), dark)
    clear = Decal(white * np.array([1, 1, 1, 0], np.uint8), decal.center, 0.15)
    np.testing.assert_array_equal(paint_picture(dark, cube_map, clear), dark)
    hair = cube_map.coords + np.array([0, 0.03, 0.03], np.float32)
    over = CubeMap(hair, cube_map.confidence, cube_map.mask, cube_map.image_from_map)
    hidden = (paint_picture(image, over, decal) != image).any(axis=2).sum()
    assert hidden < 0.1 * (paint_picture(image, cube_map, decal) != image).any(axis=2).sum()


def test_an_atlas_texture_comes_back_from_pictures():
    """The template painted with its own places as colours, in pictures and on its vertices."""
    coords = atlas_coords(256)
    opaque = np.full((256, 256, 1), 255, np.uint8)
    picture = np.clip(np.rint(color_of(coords)), 0, 255).astype(np.uint8)
    texture = AtlasTexture(np.concatenate([picture, opaque], axis=2))
    _, cube_map, _ = photograph(20)
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    painted = paint_picture(grey, cube_map, texture, PaintOptions(shading=0))
    off = np.abs(painted - color_of(cube_map.coords))[cube_map.mask].max(axis=1)
    assert np.percentile(off, 95) < 6
    colors = np.full((len(HEAD.coords), 3), 128, np.uint8)
    flat = paint_vertices(colors, HEAD.coords, HEAD.faces, texture, PaintOptions(shading=0))
    off = np.abs(flat - color_of(HEAD.coords)).max(axis=1)
    assert np.percentile(off, 95) < 8
    lit = paint_vertices(colors, HEAD.coords, HEAD.faces, texture)
    np.testing.assert_array_equal(lit, flat)  # even light


def seen_well(texture):
    return texture.coverage > 0.3


def test_a_texture_of_maps_is_the_surface_s_colours():
    views = [photograph(yaw) for yaw in (-50, 0, 50)]
    options = GatherOptions(size=256)
    found = texture_of_pictures([(image, m) for image, m, _ in views], options)
    good = seen_well(found)
    off = np.abs(found.colors - color_of(atlas_coords(256))).max(axis=2)[good]
    assert good.mean() > 0.4
    assert np.median(off) < 4
    assert np.percentile(off, 95) < 20
    assert not found.colors[found.coverage == 0].any()
    # The back was not seen by anyone.
    rear = atlas_coords(256)[..., 2] < 0.3
    assert found.coverage[rear].max() == 0
    with pytest.raises(ReconstructionError, match="no picture shows a head"):
        texture_of_pictures([(views[0][0], empty_cube_map(4, 4))], options)


def cube_mesh():
    grey = np.full((len(HEAD.coords), 3), 90, np.uint8)
    return CubeMesh(HEAD.coords.astype(np.float64), HEAD.faces, HEAD.coords, grey, {})


def test_a_texture_of_a_mesh_is_sharper():
    laid = AtlasMesh.of(cube_mesh(), 256)
    every = np.ones((SIZE, SIZE), bool)
    layers = [laid.layer(image, every, c) for image, _, c in (photograph(y) for y in (-50, 0, 50))]
    found = gather(layers, GatherOptions(size=256))
    good = seen_well(found)
    off = np.abs(found.colors - color_of(atlas_coords(256))).max(axis=2)[good]
    assert good.mean() > 0.4
    assert np.median(off) < 3
    assert np.percentile(off, 95) < 10
    place = np.linalg.norm(laid.points - atlas_coords(256), axis=2)
    assert np.nanpercentile(place, 95) < 0.008
    own = gather([laid.own_layer()], GatherOptions(size=256))
    assert (own.colors[own.coverage > 0] == 90).all()
    assert (own.coverage > 0).mean() > 0.9
    # What the nose hides from the side, and the far cheek, give nothing.
    profile = laid.layer(photograph(80)[0], every, camera_at(80))
    far = atlas_coords(256)[..., 0] < 0.4
    assert profile.confidence[far].max() == 0
    masked = laid.layer(photograph(0)[0], ~every, camera_at(0))
    assert masked.confidence.max() == 0


def test_exposures_are_brought_together_and_wild_colours_do_not_count():
    truth = np.clip(color_of(atlas_coords(64)), 0, 255)
    ones = np.ones((64, 64), np.float32)
    gains = (0.7, 1.0, 1.15, 1.2)
    layers = [Layer(np.clip(truth * g, 0, 255).astype(np.uint8), ones, ones) for g in gains]
    wild = layers[1].colors.copy()
    wild[20:40, 20:40] = 255
    layers.append(Layer(wild, ones, ones))
    found = gather(layers, GatherOptions(size=64)).colors.astype(float)
    ratio = found / np.maximum(truth, 1)
    assert ratio.std() / ratio.mean() < 0.04
    plain = gather(layers[:1] + layers[3:4], GatherOptions(size=64, balance=False))
    assert np.abs(plain.n_views - 2).max() == 0
    with pytest.raises(ValueError, match="at least one view"):
        gather([])


def test_layers_seen_from_inside_are_left_out():
    image, cube_map, _ = photograph(0)
    mirrored = CubeMap(
        cube_map.coords[:, ::-1], cube_map.confidence, cube_map.mask[:, ::-1], np.eye(2, 3)
    )
    assert layer_of_map(image, cube_map, 128).confidence.max() > 0.5
    assert (layer_of_map(image, mirrored, 128).confidence > 0).mean() < 0.02


def test_places_and_files_that_are_none(tmp_path):
    np.testing.assert_allclose(decal_place(("0.6", "0.55", "0.73")), [0.6, 0.55, 0.71], atol=0.02)
    for at, says in ((("elbow",), "no place is called 'elbow'"), (("1", "x", "2"), "u v w")):
        with pytest.raises(ValueError, match=says):
            decal_place(at)
    with pytest.raises(ValueError, match="three numbers"):
        decal_place(("1", "2"))
    with pytest.raises(ValueError, match="size must be"):
        Decal(checks(), np.zeros(3), 0.0)
    path = tmp_path / "texture.png"
    with pytest.raises(CaptureError, match="no such picture"):
        read_texture(path)
    path.write_bytes(b"not a picture")
    with pytest.raises(CaptureError, match="not a readable picture"):
        read_texture(path)
    for changes in ({"shading": 2.0}, {"opacity": -1.0}, {"shading_width": 0.0}):
        with pytest.raises(ValueError):
            PaintOptions(**changes)
    for changes in ({"size": 3}, {"wild": 0.0}, {"sharpness": -1.0}):
        with pytest.raises(ValueError):
            GatherOptions(**changes)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_textures_of_any_kind_are_read(tmp_path, channels):
    import cv2

    values = np.arange(4 * 5 * channels, dtype=np.uint8).reshape(4, 5, channels)
    cv2.imwrite(str(tmp_path / "t.png"), values)
    texture = read_texture(tmp_path / "t.png")
    assert texture.shape == (4, 5, 4)
    expected = np.repeat(values, 3, axis=2) if channels == 1 else values[..., 2::-1]
    np.testing.assert_array_equal(texture[..., :3], expected)
    assert (texture[..., 3] == (values[..., 3] if channels == 4 else 255)).all()


def test_where_the_atlas_is_asked_the_template_answers():
    places, height = atlas_places(HEAD.coords)
    assert np.isfinite(places).all()
    assert np.abs(height).max() < 0.003
