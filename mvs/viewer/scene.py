"""What is drawn: shapes, cameras with their pictures, and the marks of clicked places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.camera import Camera
from calib.capture import CaptureError
from mvs.stages.glb import glb_bytes
from mvs.stages.model import Model
from mvs.types import ByteArray, DoubleArray
from mvs.viewer.colors import COLORINGS, available, diverge
from mvs.viewer.frame import choose_frame, wxyz
from mvs.viewer.frusta import frustum_hit, picture_plane, vertical_angle
from mvs.viewer.pick import Place, describe
from mvs.viewer.pictures import pinhole_picture
from mvs.viewer.subject import Shape, Subject
from mvs.viewer.surface import Points, Surface, target_of

if TYPE_CHECKING:
    import viser

KINDS = ("surface", "cloud", "points")
# Where two subjects are shown: one of them, or both.
SIDES = ("first", "second", "side by side")
TEXTURE, DISTANCE = "texture", "distance"
# How far apart two subjects are shown, scene units.
_APART = 2.4
# Cameras are drawn so large at first, as a part of how far they are.
_CAMERA_SHARE = 0.12
_THUMBNAIL = 320
_BEHIND = 1024
# More points than these are thinned out for the eye.
_MOST_POINTS = 1_500_000
# Points are drawn within these sizes, scene units, before the user changes it.
_POINT_SIZES = (0.002, 0.012)
_MARK_COLORS = ((255, 0, 160), (0, 200, 255))


@dataclass(frozen=True)
class Look:
    """What is shown, and how.

    Attributes:
        kinds: of shapes that are shown, of ``KINDS``.
        coloring: a key of ``COLORINGS``, ``texture`` or ``distance``.
        is_lit: whether light falls on surfaces.
        point_size: in distances between neighbouring points.
        has_cameras: whether cameras are shown.
        camera_size: scene units.
        side: which of two subjects, of ``SIDES``.
        limit: distance at which its colours end, world units.
    """

    kinds: frozenset[str]
    coloring: str
    is_lit: bool = True
    point_size: float = 1.0
    has_cameras: bool = True
    camera_size: float = 0.25
    side: str = SIDES[0]
    limit: float = 1.0

    def shows(self, index: int) -> bool:
        """Whether a subject, by its number, is shown."""
        return self.side in (SIDES[2], SIDES[index])


@dataclass(frozen=True)
class Picked:
    """What a ray through the scene meets first.

    Attributes:
        subject: its number.
        place: on a shape; None where it meets a camera.
        view: number of the camera; None where it meets a shape.
    """

    subject: int
    place: Place | None = None
    view: int | None = None


class Scene:
    """The scene of a viser server.

    Attributes:
        subjects: one, or two that are compared.
        frame: of the scene.
    """

    def __init__(self, server: viser.ViserServer, subjects: Sequence[Subject]) -> None:
        """Set up an empty scene; ``draw`` fills it."""
        self.subjects = tuple(subjects)
        self.frame = choose_frame(subjects)
        self._scene = server.scene
        self._lock = RLock()
        self._nodes: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._targets: dict[tuple[int, str], Surface | Points] = {}
        self._gaps: dict[tuple[int, str], DoubleArray] = {}
        self._cubes: dict[int, Any] = {}
        self._frusta: dict[int, list[Any]] = {}
        self._stop = Event()
        self._scene.configure_default_lights(cast_shadow=False)
        self._roots = [
            self._scene.add_frame(f"/{index}", show_axes=False) for index in range(len(subjects))
        ]

    def colorings(self) -> list[str]:
        """The colourings that any of the subjects allows, the most telling first."""
        shapes = [shape for subject in self.subjects for shape in subject.shapes.values()]
        found = [TEXTURE] if any(shape.texture is not None for shape in shapes) else []
        allowed = {name for shape in shapes for name in available(shape)}
        found += [name for name in COLORINGS if name in allowed]
        comparable = len(self.subjects) == 2 and all(s.best is not None for s in self.subjects)
        return found + ([DISTANCE] if comparable else [])

    def kinds(self) -> list[str]:
        """The kinds of shapes that there are."""
        return [kind for kind in KINDS if any(_shape(s, kind, "") for s in self.subjects)]

    def reach(self) -> float:
        """How far the farthest camera is from the middle, scene units; 1 without cameras."""
        captures = [s.capture for s in self.subjects if s.capture is not None]
        centers = [view.camera.center for capture in captures for view in capture.views]
        if not centers:
            return 1.0
        places = self.frame.to_scene(np.array(centers))
        return float(np.linalg.norm(places, axis=1).max())

    def camera_size(self) -> float:
        """How large cameras are drawn at first, scene units."""
        return float(np.clip(np.round(_CAMERA_SHARE * self.reach() / 0.05) * 0.05, 0.05, 3.0))

    def draw(self, look: Look) -> None:
        """Bring the scene to what a look says; what has not changed stays as it is."""
        with self._lock:
            for index, subject in enumerate(self.subjects):
                self._roots[index].position = self.offset(index, look)
                for kind in KINDS:
                    shape = _shape(subject, kind, look.coloring)
                    is_shown = kind in look.kinds and look.shows(index)
                    if shape is not None:
                        self._show(index, kind, shape, look if is_shown else None)
                self._show_cameras(index, look)

    def offset(self, index: int, look: Look) -> DoubleArray:
        """(3,) where a subject is moved to, scene units."""
        if look.side != SIDES[2]:
            return np.zeros(3)
        right = np.cross(self.frame.up, self.frame.front)
        return np.asarray((index - 0.5) * _APART * right, np.float64)

    def pick(self, origin: DoubleArray, direction: DoubleArray, look: Look) -> Picked | None:
        """What a ray meets first of what is shown; None where it meets nothing.

        Args:
            origin: (3,) of the ray, scene.
            direction: (3,) unit vector.
            look: what is shown.
        """
        with self._lock:
            found: list[tuple[float, Picked]] = []
            for index, subject in enumerate(self.subjects):
                if not look.shows(index):
                    continue
                start = self.frame.to_world(origin - self.offset(index, look))
                for kind in look.kinds:
                    shape = _shape(subject, kind, look.coloring)
                    hit = shape and self._target(index, shape).hit(start, direction)
                    if shape and hit:
                        found.append((hit.along, Picked(index, describe(shape, hit))))
                if look.has_cameras and subject.capture is not None:
                    size = look.camera_size * self.frame.radius
                    cameras = [view.camera for view in subject.capture.views]
                    met = frustum_hit(start, direction, cameras, size)
                    if met is not None:
                        found.append((met[0], Picked(index, view=met[1])))
        return min(found, key=lambda one: one[0])[1] if found else None

    def occluder(self, index: int) -> Surface | Points | None:
        """What hides places of a subject from its cameras."""
        shape = self.subjects[index].best
        with self._lock:
            return None if shape is None else self._target(index, shape)

    def gaps(self, index: int, shape: Shape) -> DoubleArray:
        """Distances (N,) of a subject's points to the other subject, negative inside, world."""
        other = self.subjects[1 - index].best
        if other is None:
            return np.full(len(shape.cloud), np.nan)
        key = index, str(id(shape))
        if key not in self._gaps:
            self._gaps[key] = self._target(1 - index, other).distances(shape.cloud.points)
        return self._gaps[key]

    def same_place(self, index: int, place: Place) -> DoubleArray | None:
        """Where on a subject the cube coordinate of a place lies: (3,) world, None without."""
        from scipy.spatial import cKDTree

        shape = self.subjects[index].best
        if shape is None or place.coords is None or "uvw" not in shape.known:
            return None
        with self._lock:
            if index not in self._cubes:
                coords = np.nan_to_num(shape.cloud.coords, nan=1e6)
                self._cubes[index] = cKDTree(coords)
            row = int(self._cubes[index].query(place.coords)[1])
        return np.asarray(shape.cloud.points[row], np.float64)

    def mark(self, index: int, position: DoubleArray | None) -> None:
        """Mark a place (3,) of a subject; None takes its mark away."""
        name = f"/{index}/mark"
        if position is None:
            self._scene.remove_by_name(name)
            return
        place = self.frame.to_scene(position)
        self._scene.add_icosphere(name, 0.015, color=_MARK_COLORS[index], position=place)

    def show_picture(self, index: int, view: int, is_before: bool) -> None:
        """Put a view's picture behind or before the subject, as its camera sees it.

        Raises:
            CaptureError: if the picture cannot be read.
        """
        capture = self.subjects[index].capture
        if capture is None:
            return
        camera = capture.views[view].camera.as_pinhole()
        image = pinhole_picture(capture.views[view], _BEHIND)
        center = self.frame.center
        depth = float((camera.rotation @ center + camera.translation)[2])
        shift = 1.3 * self.frame.radius
        depth = max(depth - shift, 0.1 * depth) if is_before else depth + shift
        width, height, position = picture_plane(camera, depth)
        self._scene.add_image(
            f"/{index}/picture",
            image,
            width / self.frame.radius,
            height / self.frame.radius,
            wxyz=wxyz(camera.rotation.T),
            position=self.frame.to_scene(position),
            cast_shadow=False,
            receive_shadow=False,
        )

    def hide_picture(self) -> None:
        """Take the picture away that ``show_picture`` put there."""
        for index in range(len(self.subjects)):
            self._scene.remove_by_name(f"/{index}/picture")

    def hide_frustum(self, index: int, view: int | None) -> None:
        """Show all cameras of a subject but one, which is looked through."""
        for number, frustum in enumerate(self._frusta.get(index, ())):
            frustum.visible = number != view

    def stop(self) -> None:
        """Stop what goes on in the background."""
        self._stop.set()

    def _target(self, index: int, shape: Shape) -> Surface | Points:
        key = index, str(id(shape))
        if key not in self._targets:
            self._targets[key] = target_of(shape)
        return self._targets[key]

    def _show(self, index: int, kind: str, shape: Shape, look: Look | None) -> None:
        """Show a shape, or hide it where there is no look."""
        key, node = self._nodes.get((index, kind), (None, None))
        if look is None:
            if node is not None:
                node.visible = False
            return
        wanted = (id(shape), look.coloring, look.is_lit, look.limit)
        if look.coloring != DISTANCE:
            wanted = (*wanted[:3], 0.0)
        if shape.faces is None:
            wanted = (*wanted[:2], True, wanted[3])
        if wanted != key:
            node = self._add(f"/{index}/{kind}", index, shape, look)
            self._nodes[index, kind] = wanted, node
        if shape.faces is None:
            node.point_size = look.point_size * self._spacing(index, shape)
        node.visible = True

    def _add(self, name: str, index: int, shape: Shape, look: Look) -> Any:
        points = self.frame.to_scene(shape.cloud.points)
        colors = self._colors(index, shape, look)
        if shape.faces is None:
            step = -(-len(points) // _MOST_POINTS)
            return self._scene.add_point_cloud(
                name,
                points[::step].astype(np.float32),
                colors[::step],
                point_size=look.point_size * self._spacing(index, shape),
                point_shape="circle",
                point_shading="flat",
                precision="float32",
            )
        blank = np.zeros_like(shape.cloud.coords)
        cloud = replace(
            shape.cloud, points=points, colors=colors, coords=blank, confidence=blank[:, 0]
        )
        texture = shape.texture if look.coloring == TEXTURE else None
        data = glb_bytes(Model(cloud, shape.faces, texture), is_lit=look.is_lit)
        return self._scene.add_glb(name, data, cast_shadow=False, receive_shadow=False)

    def _colors(self, index: int, shape: Shape, look: Look) -> ByteArray:
        if look.coloring == DISTANCE:
            return diverge(self.gaps(index, shape), look.limit)
        return COLORINGS[colored_by(shape, look.coloring)](shape)

    def _spacing(self, index: int, shape: Shape) -> float:
        target = self._target(index, shape)
        spacing = target.spacing if isinstance(target, Points) else 0.0
        return float(np.clip(spacing / self.frame.radius, *_POINT_SIZES))

    def _show_cameras(self, index: int, look: Look) -> None:
        capture = self.subjects[index].capture
        if capture is None:
            return
        if index not in self._frusta:
            self._frusta[index] = [
                self._add_frustum(f"/{index}/cameras/{number}", view.camera)
                for number, view in enumerate(capture.views)
            ]
            Thread(target=self._load_thumbnails, args=(index,), daemon=True).start()
        is_shown = look.has_cameras and look.shows(index)
        for frustum in self._frusta[index]:
            frustum.scale = look.camera_size / frustum.compute_canonical_frustum_size()[2]
            frustum.visible = is_shown

    def _add_frustum(self, name: str, camera: Camera) -> Any:
        return self._scene.add_camera_frustum(
            name,
            vertical_angle(camera),
            camera.width / camera.height * float(camera.K[1, 1] / camera.K[0, 0]),
            thickness=1.5,
            thickness_units="screen",
            color=(90, 90, 100),
            wxyz=wxyz(camera.rotation.T),
            position=self.frame.to_scene(camera.center),
            cast_shadow=False,
            receive_shadow=False,
        )

    def _load_thumbnails(self, index: int) -> None:
        """Pictures for the cameras, one after the other; what cannot be read stays empty."""
        capture = self.subjects[index].capture
        views = capture.views if capture else ()
        for view, frustum in zip(views, self._frusta[index], strict=True):
            if self._stop.is_set():
                return
            try:
                frustum.image = pinhole_picture(view, _THUMBNAIL)
            except CaptureError:
                continue


def colored_by(shape: Shape, coloring: str) -> str:
    """The colouring that a shape takes where another was asked for that it does not allow."""
    allowed = available(shape)
    if coloring in allowed:
        return coloring
    return "rgb" if "rgb" in allowed and coloring == TEXTURE else "plain"


def _shape(subject: Subject, kind: str, coloring: str) -> Shape | None:
    """The shape of a kind; as surface the textured one where its texture is asked for."""
    if kind != "surface":
        return subject.shapes.get(kind)
    textured = subject.shapes.get("textured")
    return textured if coloring == TEXTURE and textured is not None else subject.surface
