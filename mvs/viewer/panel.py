"""The viewer's controls, and what happens when they are used."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.capture import CaptureError
from mvs.stages.model import METRES, encode_picture
from mvs.types import ByteArray, DoubleArray
from mvs.viewer.colors import distance_legend, legend
from mvs.viewer.frame import axis_vector, wxyz
from mvs.viewer.frusta import vertical_angle
from mvs.viewer.pick import Place, crop, sightings
from mvs.viewer.pictures import Pictures
from mvs.viewer.scene import DISTANCE, SIDES, TEXTURE, Look, Picked, Scene

if TYPE_CHECKING:
    import viser

# Crops are this wide, pixels, and show so much of the subject's radius.
_CROP = 132
_WIDTH = 320
_CROP_SHARE = 0.35
_AXES = ("head", "+x", "-x", "+y", "-y", "+z", "-z")
_NOWHERE = "-"
_PICTURE = ("behind", "before", "none")
_NAMES = {"surface": "Surface", "cloud": "Cloud", "points": "Points"}
# Of the distances between two subjects, the scale ends at this quantile at first.
_LIMIT_QUANTILE = 0.95
# Where the scene is looked at from, in radii, and the angle of view.
_HOME, _FOV = 3.4, 0.7
# To see all cameras: so many times as far as they are.
_WHOLE = 3.2


@dataclass(frozen=True)
class Seen:
    """The crops of the views that see a place.

    Attributes:
        names: of the views, the best first.
        crops: (S, S, 3) uint8 each.
    """

    names: tuple[str, ...]
    crops: tuple[ByteArray, ...]


class Panel:
    """The controls of a scene."""

    def __init__(self, server: viser.ViserServer, scene: Scene) -> None:
        """Build the controls and draw the scene."""
        self._server, self._scene = server, scene
        self._lock = Lock()
        self._pictures = {
            index: Pictures(subject.capture)
            for index, subject in enumerate(scene.subjects)
            if subject.capture is not None
        }
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.gui.set_panel_label(" / ".join(subject.name for subject in scene.subjects))
        self._limit = _first_limit(scene)
        self._add_shown()
        self._add_cameras()
        server.gui.main_panel.dock_right()
        server.gui.main_panel.set_width(_WIDTH)
        panel = server.gui.add_panel()
        with panel.add_tab("Point"):
            self._point = server.gui.add_html(_note("Click a place of the head."))
        panel.dock_left()
        panel.set_width(_WIDTH)
        self._set_home()
        self._redraw()
        server.scene.on_click()(self._clicked)

    def _add_shown(self) -> None:
        gui, scene = self._server.gui, self._scene
        kinds, colorings = scene.kinds(), scene.colorings()
        self._sides: Any = None
        with gui.add_folder("Show"):
            if len(scene.subjects) == 2:
                self._sides = gui.add_dropdown("Side", SIDES, initial_value=SIDES[0])
            self._kinds = {
                kind: gui.add_checkbox(_NAMES[kind], initial_value=kind == kinds[0])
                for kind in kinds
            }
            self._coloring = gui.add_dropdown("Colour", colorings or ["plain"])
            self._legend = gui.add_html("")
            label = f"Scale, {self._unit()}"
            self._limits = gui.add_number(label, self._limit, min=1e-9, visible=False)
            # Photographs have a light of their own.
            self._light = gui.add_checkbox("Light", initial_value=TEXTURE not in colorings)
            self._point_size = gui.add_slider("Point size", 0.25, 6.0, 0.25, 1.5)
            self._up = gui.add_dropdown("Up", _AXES)
            home = gui.add_button("Front view")
            whole = gui.add_button("All cameras", visible=bool(self._pictures))
        shown: list[Any] = [self._coloring, self._limits, self._light, self._point_size]
        shown += [*self._kinds.values(), *([self._sides] if self._sides else [])]
        for handle in shown:
            handle.on_update(lambda _: self._redraw())
        self._up.on_update(lambda event: self._change_home(event.client))
        home.on_click(lambda event: self._go_home(event.client))
        whole.on_click(lambda event: self._go_home(event.client, _WHOLE * scene.reach()))
        if self._sides:
            self._sides.on_update(lambda event: self._change_side(event.client))

    def _add_cameras(self) -> None:
        gui, names = self._server.gui, self._view_names()
        with gui.add_folder("Cameras", visible=bool(names)):
            self._has_cameras = gui.add_checkbox("Cameras", initial_value=bool(names))
            self._camera_size = gui.add_slider("Size", 0.05, 3.0, 0.05, self._scene.camera_size())
            self._through: Any = gui.add_dropdown("Look through", [_NOWHERE, *names])
            self._picture = gui.add_dropdown("Its picture", _PICTURE)
        shown: list[Any] = [self._has_cameras, self._camera_size]
        for handle in shown:
            handle.on_update(lambda _: self._redraw())
        for handle in (self._through, self._picture):
            handle.on_update(lambda event: self._look_through(event.client))

    def _view_names(self) -> list[str]:
        """Of the first subject that has cameras."""
        index = min(self._pictures, default=None)
        capture = None if index is None else self._scene.subjects[index].capture
        return [view.name for view in capture.views] if capture else []

    def _look(self) -> Look:
        metres = self._metres()
        to_world = 1e-3 / metres if metres else 1.0
        return Look(
            frozenset(kind for kind, box in self._kinds.items() if box.value),
            self._coloring.value,
            self._light.value,
            self._point_size.value,
            self._has_cameras.value,
            self._camera_size.value,
            self._sides.value if self._sides else SIDES[0],
            float(self._limits.value) * to_world,
        )

    def _redraw(self) -> None:
        with self._lock:
            look = self._look()
            self._legend.content = self._legend_of(look)
            self._limits.visible = look.coloring == DISTANCE
            self._scene.draw(look)

    def _legend_of(self, look: Look) -> str:
        if look.coloring == DISTANCE:
            return distance_legend(self._limits.value)
        subject = self._scene.subjects[1 if look.side == SIDES[1] else 0]
        return legend(look.coloring, subject.best)

    def _metres(self) -> float | None:
        unit = self._scene.subjects[0].unit
        return None if unit is None else METRES[unit]

    def _unit(self) -> str:
        return "mm" if self._metres() else "world units"

    def _up_vector(self) -> DoubleArray:
        if self._up.value == _AXES[0]:
            return self._scene.frame.up
        return axis_vector(self._up.value)

    def _set_home(self) -> None:
        """Where a browser that connects looks from."""
        frame, camera = self._scene.frame, self._server.initial_camera
        up = self._up_vector()
        self._server.scene.set_up_direction(up)
        self._is_wide = self._sides is not None and self._sides.value == SIDES[2]
        away = _HOME if any(subject.best for subject in self._scene.subjects) else 2 * _HOME
        camera.position = (2 * away if self._is_wide else away) * frame.front
        camera.look_at = np.zeros(3)
        camera.up, camera.fov = up, _FOV
        camera.near, camera.far = 0.01, 1000.0

    def _change_side(self, client: viser.ClientHandle | None) -> None:
        """Step back for two subjects side by side; else the view stays, to see what differs."""
        if self._is_wide != (self._sides.value == SIDES[2]):
            self._change_home(client)

    def _change_home(self, client: viser.ClientHandle | None) -> None:
        self._set_home()
        self._go_home(client)

    def _go_home(self, client: viser.ClientHandle | None, away: float | None = None) -> None:
        """Look from the front again, from ``away`` scene units if given."""
        if client is None:
            return
        self._through.value = _NOWHERE
        self._leave_camera()
        home, scene = self._server.initial_camera, self._scene
        with client.atomic():
            client.camera.up_direction = self._up_vector()
            client.camera.position = home.position if away is None else away * scene.frame.front
            client.camera.look_at = home.look_at
            client.camera.fov = home.fov

    def _leave_camera(self) -> None:
        self._scene.hide_picture()
        self._redraw()

    def _look_through(self, client: viser.ClientHandle | None) -> None:
        """Put a browser's view where the chosen camera is, its picture behind the subject."""
        name, names = self._through.value, self._view_names()
        self._leave_camera()
        if client is None or name == _NOWHERE:
            return
        index, view = min(self._pictures), names.index(name)
        capture = self._scene.subjects[index].capture
        if capture is None:
            return
        camera = capture.views[view].camera
        offset = self._scene.offset(index, self._look())
        with client.atomic():
            client.camera.position = self._scene.frame.to_scene(camera.center) + offset
            client.camera.wxyz = wxyz(camera.rotation.T)
            client.camera.fov = vertical_angle(camera, client.camera.aspect)
        self._scene.hide_frustum(index, view)
        if self._picture.value != _PICTURE[2]:
            try:
                self._scene.show_picture(index, view, self._picture.value == _PICTURE[1])
            except CaptureError as error:
                client.add_notification("No picture", str(error))

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        origin, direction = np.array(event.ray_origin), np.array(event.ray_direction)
        picked = self._scene.pick(origin, direction, self._look())
        if picked is None:
            return
        if picked.view is not None:
            if picked.subject == min(self._pictures):
                self._through.value = self._view_names()[picked.view]
                self._look_through(event.client)
            return
        self._show_point(picked)

    def _show_point(self, picked: Picked) -> None:
        place = picked.place
        if place is None:
            return
        self._scene.mark(picked.subject, place.position)
        table = describe_html(place, self._same_place(picked))
        self._point.content = table + _note("Looking for it in the pictures ...")
        seen = self._find(picked.subject, place)
        self._point.content = table + crops_html(seen)

    def _same_place(self, picked: Picked) -> str | None:
        """Mark the place on the other subject; how far it lies from the one clicked."""
        if len(self._scene.subjects) < 2 or picked.place is None:
            return None
        other = 1 - picked.subject
        found = self._scene.same_place(other, picked.place)
        self._scene.mark(other, found)
        if found is None:
            return None
        gap = float(np.linalg.norm(found - picked.place.position))
        metres = self._metres()
        gap = gap * metres * 1000 if metres else gap
        return f"{gap:.4g} {self._unit()} away on {self._scene.subjects[other].name}"

    def _find(self, index: int, place: Place) -> Seen | None:
        """The pictures that show a place; None where there are no cameras."""
        capture = self._scene.subjects[index].capture
        if capture is None:
            return None
        cameras = [view.camera for view in capture.views]
        width = _CROP_SHARE * self._scene.frame.radius
        names, crops = [], []
        for sighting in sightings(place, cameras, self._scene.occluder(index)):
            try:
                image = self._pictures[index].taken(sighting.view)
            except CaptureError:
                continue
            pixels = width * float(cameras[sighting.view].K[0, 0]) / sighting.depth
            crops.append(crop(image, sighting.pixel, pixels, _CROP))
            names.append(capture.views[sighting.view].name)
        return Seen(tuple(names), tuple(crops))


def describe_html(place: Place, elsewhere: str | None = None) -> str:
    """What is known of a place, as a table in HTML."""
    rows = [("position", _numbers(place.position, 5))]
    if place.coords is not None:
        rows.append(("cube u v w", _numbers(place.coords, 3)))
    if place.region is not None:
        rows.append(("part", place.region))
    if place.confidence is not None:
        rows.append(("confidence", f"{place.confidence:.2f}"))
    if place.n_views is not None:
        rows.append(("views agree", str(place.n_views)))
    if elsewhere is not None:
        rows.append(("same place", elsewhere))
    cells = "".join(
        f'<tr><td style="padding-right:1em;opacity:0.6;white-space:nowrap">{html.escape(name)}</td>'
        f"<td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    return f'<table class="mvs-point" style="margin:0 1em;font-size:13px">{cells}</table>'


def crops_html(seen: Seen | None) -> str:
    """Crops with the names of their pictures, as HTML."""
    if seen is None:
        return _note("No cameras are known: say where the capture is by --capture.")
    if not seen.names:
        return _note("No picture shows it.")
    figures = []
    for name, image in zip(seen.names, seen.crops, strict=True):
        data = base64.b64encode(encode_picture(image, "jpg")).decode()
        figures.append(
            f'<figure style="display:inline-block;margin:2px"><img class="mvs-crop" alt="" '
            f'width="{_CROP}" src="data:image/jpeg;base64,{data}"/><figcaption style="font-size:'
            f'11px;overflow-wrap:anywhere;width:{_CROP}px">{html.escape(name)}</figcaption></figure>'
        )
    count = _note(f"{len(seen.names)} pictures show it, the best first:")
    return f'{count}<div style="padding:0 0.7em">{"".join(figures)}</div>'


def _first_limit(scene: Scene) -> float:
    """Where the scale of distances ends at first: one digit, shown units."""
    if len(scene.subjects) < 2 or scene.subjects[0].best is None:
        return 1.0
    gaps = np.abs(scene.gaps(0, scene.subjects[0].best))
    unit = scene.subjects[0].unit
    gaps = gaps * METRES[unit] * 1000 if unit else gaps
    limit = float(np.quantile(gaps[np.isfinite(gaps)], _LIMIT_QUANTILE)) if len(gaps) else 1.0
    return float(f"{limit:.1g}") if limit > 0 else 1.0


def _numbers(values: Sequence[float] | np.ndarray[Any, Any], digits: int) -> str:
    return "  ".join(f"{float(value):.{digits}g}" for value in values)


def _note(text: str) -> str:
    return f'<div style="padding:0.3em 1em;font-size:13px">{html.escape(text)}</div>'
