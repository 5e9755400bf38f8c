"""A head model fitted to a single picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calib.camera import Camera
from mvs.errors import ReconstructionError
from mvs.headmodel.energy import Energy, start_state
from mvs.headmodel.observe import Observation, Observer
from mvs.headmodel.options import FitOptions
from mvs.headmodel.outline import Outline, find_outline
from mvs.headmodel.reading import Reader
from mvs.headmodel.stages import solve_stages, vertex_confidence
from mvs.headmodel.start import place_in_view, simple_camera
from mvs.headmodel.state import State
from mvs.headmodel.types import Fit, HeadModel
from mvs.types import ByteArray, CubeMap, Embedder

if TYPE_CHECKING:
    from mvs.network.regressor import Regressor

# Focal length of a picture of which nobody knows it, in longer sides: a field of 37 degrees.
USUAL_FOCAL = 1.5
# How often the regressor reads a picture; frames of a video are read once.
_TIMES = 5
_CLOSER = "give a picture with the face in it, large and sharp"


def fit_image(
    image: ByteArray,
    embedder: Embedder,
    model: HeadModel,
    options: FitOptions | None = None,
    *,
    camera: Camera | None = None,
    regressor: Regressor | None = None,
    name: str = "image",
) -> Fit:
    """Fit a head to one picture.

    Args:
        image: (H, W, 3) uint8 RGB, undistorted.
        embedder: finds the head and embeds it.
        model: what is fitted.
        options: see ``FitOptions``.
        camera: pinhole, of the picture, where it is known; without, the focal length is solved for
            and the principal point is the picture's middle.
        regressor: reads off the picture who is shown and what the face does, beside the cube map;
            see ``load_regressor``.
        name: of the picture.

    Returns:
        The fit. Its world is the camera's (that of ``camera`` where given), in metres: the head's
        size is the model's guess, as no single picture shows it.

    Raises:
        ReconstructionError: if the picture shows no head, or too little of one.
        ValueError: if the camera is not the picture's.
    """
    if camera is not None:
        check_size(camera, image, name)
    square = embedder.find_head(image, name)
    if square is None:
        raise ReconstructionError(f"{name}: no head is seen", _CLOSER)
    cube_map = embedder.embed(image, square, name)
    height, width = image.shape[:2]
    taken = camera or simple_camera(width, height, USUAL_FOCAL * max(width, height))
    options = options or FitOptions()
    observer = Observer(model, options.observe)
    seen = observer.observe(cube_map, taken)
    if regressor is not None:
        seen = Reader(model, regressor, options, _TIMES).read(image, seen)
    return _fit_seen(observer, seen, cube_map, options, camera is not None, name)


def fit_map(
    cube_map: CubeMap,
    camera: Camera,
    model: HeadModel,
    options: FitOptions | None = None,
    *,
    knows_focal: bool = True,
    name: str = "image",
) -> Fit:
    """Fit a head to one cube map.

    Args:
        cube_map: of a picture.
        camera: pinhole, of the picture; its focal length is where the solver begins unless
            ``knows_focal``.
        model: what is fitted.
        options: see ``FitOptions``.
        knows_focal: whether the camera's focal length holds.
        name: of the picture.

    Raises:
        ReconstructionError: if the map shows too little of a head.
    """
    options = options or FitOptions()
    observer = Observer(model, options.observe)
    seen = observer.observe(cube_map, camera)
    return _fit_seen(observer, seen, cube_map, options, knows_focal, name)


def _fit_seen(
    observer: Observer,
    seen: Observation,
    cube_map: CubeMap,
    options: FitOptions,
    knows_focal: bool,
    name: str,
) -> Fit:
    """Fit a head to what one picture shows."""
    model, camera = seen.places.model, seen.camera
    state = start_state(model, place_in_view(seen, model.unit_m))
    views: list[Observation | Outline] = [seen]
    if options.landmarks > 0:
        views.append(observer.observe_landmarks(cube_map, camera, options.landmarks))
    if options.outline > 0:
        views.append(find_outline(cube_map, camera, options.outline, options.observe))
    energy = Energy(model, views, options, knows_scale=True, knows_focal=knows_focal)
    state = solve_stages(energy, state, options)
    return Fit(
        model,
        state.shape.identity,
        state.shape.expression[None],
        state.shape.joints[None],
        (state.world_from_model,),
        ((zoomed(camera, state),),),
        ((name,),),
        vertex_confidence(energy, state, model)[None],
    )


def check_size(camera: Camera, image: ByteArray, name: str) -> None:
    """Refuse a camera whose pictures are not of an image's size.

    Raises:
        ValueError: naming the picture.
    """
    height, width = image.shape[:2]
    if (camera.width, camera.height) != (width, height):
        raise ValueError(
            f"{name}: camera must be of the picture, {width} x {height}, is {camera.width} x "
            f"{camera.height}"
        )


def zoomed(camera: Camera, state: State) -> Camera:
    """The camera with the focal length that was found."""
    pinhole = camera.as_pinhole()
    focal = pinhole.params[:2] * np.exp(state.zoom)
    params = np.concatenate([focal, pinhole.params[2:]])
    return Camera("PINHOLE", camera.width, camera.height, params, camera.cam_from_world)
