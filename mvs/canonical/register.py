"""The template wrapped onto a scan: fixed topology and texture places, the scan's shape.

The scan's cube coordinates say, to millimetres, where on it each vertex of the template belongs;
averaged and carried on smoothly, they bring the template near the scan. From coarse to fine it is
then drawn onto the scan's surface along its normals, while its differential coordinates, turned
with the surface, keep the template's own detail where the scan says nothing. Source: Amberg,
Romdhani and Vetter, "Optimal step nonrigid ICP algorithms for surface registration" (2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mvs.canonical.bend import Bender, Pulls
from mvs.canonical.folds import find_crossings, find_folds
from mvs.canonical.follow import Target, cube_targets
from mvs.canonical.pose import HeadPose
from mvs.canonical.scan import Scan, mesh_normals
from mvs.canonical.template import Template, load_template
from mvs.types import BoolArray, DoubleArray, FloatArray

# Length in the cube that the coordinates' first answer is smoothed over.
_FIRST_LENGTH = 0.06
# What the scan does not have follows the rest very stiffly, weakly pulled to where that leads.
_FAR_LENGTH = 0.3
_FAR_TETHER = 0.002
# Where the scan is weak evidence, the template stays so many times stiffer at most.
_MOST_STIFF = 100.0
# Pull by cube coordinates against that of the surface, first and last.
_FIRST_TETHER = 1.0
# Of the same pull, to where a template starts that is near its scan.
_START_TETHER = 0.7
_REPAIR_ROUNDS = 6
_REPAIR_STIFFER = 30.0
_STEPS_PER_REPAIR = 2
_SURE_ROUNDS = 2
_AT_BEST = 0.75


@dataclass(frozen=True)
class RegisterOptions:
    """How the template is wrapped.

    Attributes:
        iterations: of drawing the template onto the scan.
        detail: the finest detail that the result takes from the scan, a length in the cube.
        coarse: the length it begins with.
        reach: how far a place on the scan may be from the template at the end, in the cube; at the
            beginning ten times as far.
        cube_reach: how far from a vertex' cube coordinates those of its place on the scan may be.
        tether: weight of the cube coordinates at the end, that of the surface being one.
        over_skin: what lies this far outside the head by its coordinates, as hair does, counts a
            third, and farther less.
    """

    iterations: int = 30
    detail: float = 0.006
    coarse: float = 0.08
    reach: float = 0.012
    cube_reach: float = 0.05
    tether: float = 0.03
    over_skin: float = 0.006

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if not 0 < self.detail <= self.coarse:
            raise ValueError(
                f"detail must be positive and no more than coarse, got {self.detail}, {self.coarse}"
            )
        if not (self.reach > 0 and self.cube_reach > 0 and self.over_skin > 0):
            raise ValueError("reach, cube_reach and over_skin must be positive")
        if not 0 <= self.tether <= _FIRST_TETHER:
            raise ValueError(f"tether must be in [0, {_FIRST_TETHER:g}], got {self.tether}")


@dataclass(frozen=True, eq=False)
class Registration:
    """A template wrapped onto a scan.

    Attributes:
        template: whose faces and texture places hold.
        vertices: (V, 3) float64, in the scan's frame and unit.
        confidence: (V,) float32, the scan's, less where it hardly fits; 0 where it says nothing.
        visible: (V,) bool, where the scan has the place.
        distance: (V,) float64 to the nearest place of the scan, in its unit.
        folded: (F,) bool, faces that are turned over or run through others, but for those that
            do so in the template itself.
        pose: of the head.
    """

    template: Template
    vertices: DoubleArray
    confidence: FloatArray
    visible: BoolArray
    distance: DoubleArray
    folded: BoolArray
    pose: HeadPose


@dataclass(frozen=True, eq=False)
class Start:
    """A template that is near its scan already, as a fit is.

    Its shape is kept where the scan says nothing, in place of the template's own, and it stays
    where it is rather than where the cube coordinates put it, which are less exact.

    Attributes:
        vertices: (V, 3) in the scan's frame and unit.
        trust: (V,) in [0, 1], how far the nearest place of the scan can be the vertex' own: 0 for
            what the scan cannot show, as the mouth's inside.
    """

    vertices: DoubleArray
    trust: DoubleArray


def register(
    scan: Scan,
    template: Template | None = None,
    options: RegisterOptions | None = None,
    progress: Callable[[], None] | None = None,
    start: Start | None = None,
) -> Registration:
    """Wrap a template onto a scan.

    Args:
        scan: with cube coordinates, see ``read_scan`` and ``make_scan``.
        template: the shipped one if None.
        options: see ``RegisterOptions``.
        progress: called ``options.iterations`` times.
        start: where the template is near the scan already.

    Raises:
        ValueError: if the scan has too few cube coordinates, or they are of no head.
    """
    template, options = template or load_template(), options or RegisterOptions()
    pose = scan.pose()
    near = None if start is None else replace(start, vertices=pose.to_cube(start.vertices))
    wrap = _Wrap(scan.in_cube(pose), template, options, near)
    shape = wrap.first()
    for step in range(options.iterations):
        shape = wrap.draw(shape, step)
        if progress is not None:
            progress()
    shape, folded = wrap.unfold(shape)
    found = wrap.target.find(shape, mesh_normals(shape, template.faces), options.reach)
    weight = found.weight * wrap.trust
    fits = np.exp(-0.5 * (found.distance / (0.5 * options.reach)) ** 2)
    nearest = scan.in_cube(pose).distance(shape)
    return Registration(
        template,
        pose.to_world(shape),
        (weight * fits).astype(np.float32),
        weight > 0,
        nearest * pose.scale,
        folded,
        pose,
    )


class _Wrap:
    """One template on its way to one scan, both in the cube's frame."""

    def __init__(
        self,
        scan: Scan,
        template: Template,
        options: RegisterOptions,
        start: Start | None = None,
    ) -> None:
        coords = template.coords.astype(np.float64)
        rest = coords if start is None else start.vertices
        self.options, self.bender = options, Bender(rest, template.faces)
        self._is_near = start is not None
        outwards = mesh_normals(coords, template.faces)
        self.target = Target(scan, coords, outwards, options.cube_reach, options.over_skin)
        if start is None:
            self.tether, self.places = cube_targets(scan, coords)
            self.trust = np.ones(len(rest))
        else:
            self.tether = np.full(len(rest), _START_TETHER)
            self.places, self.trust = rest, start.trust
        self.stiffer = np.ones(len(rest))
        self.sound = np.ones(len(rest))
        self.far = rest
        self._level = -1.0
        self._rest_crossings = find_crossings(rest, template.faces)

    def first(self) -> DoubleArray:
        """Where the cube coordinates alone put the template; the start of one that is near."""
        shape = self.bender.rest
        if self._is_near:
            return shape
        for length in (_FAR_LENGTH, _FIRST_LENGTH):
            pulls = self._pulls(shape, _FIRST_TETHER)
            system = self.bender.system(length, self.stiffer, pulls)
            for _ in range(3):
                shape = system.solve(shape, pulls)
            if length == _FAR_LENGTH:
                self.far = shape
        return shape

    def draw(self, shape: DoubleArray, step: int) -> DoubleArray:
        """One step towards the scan."""
        options = self.options
        # Stiffness goes down in stairs, as its equations are made anew for each.
        stairs = min(6, options.iterations)
        level = step * stairs // options.iterations
        done = level / max(stairs - 1, 1)
        length = options.coarse ** (1 - done) * options.detail**done
        tether = _FIRST_TETHER ** (1 - done) * max(options.tether, 1e-6) ** done
        pulls = self._pulls(shape, tether, options.reach * 10 ** (1 - done))
        if level != self._level:
            self._system = self.bender.system(length, self._stiffer(pulls), pulls)
            self._level = level
        return self._system.solve(shape, pulls)

    def unfold(self, shape: DoubleArray) -> tuple[DoubleArray, BoolArray]:
        """Make stiff what folds, until nothing does; and the faces that still do."""
        folded = self._folded(shape)
        for _ in range(_REPAIR_ROUNDS):
            if not folded.any():
                break
            sore = np.zeros(len(shape))
            sore[self.bender.faces[folded]] = 1.0
            for _ in range(3):
                sore = np.minimum(2 * (self.bender.means @ sore), 1.0)
            self.stiffer = self.stiffer * (1 + (_REPAIR_STIFFER - 1) * sore)
            self.sound = np.minimum(self.sound, 1 - sore)
            pulls = self._pulls(shape, self.options.tether, self.options.reach)
            system = self.bender.system(self.options.detail, self._stiffer(pulls), pulls)
            for _ in range(_STEPS_PER_REPAIR):
                pulls = self._pulls(shape, self.options.tether, self.options.reach)
                shape = system.solve(shape, pulls)
            folded = self._folded(shape)
        return shape, folded

    def _stiffer(self, pulls: Pulls) -> DoubleArray:
        """(V,) more stiffness where the scan is less sure, as hair is, than at its best."""
        sure = pulls.plane_weight / (np.quantile(pulls.plane_weight, _AT_BEST) + 1e-6)
        for _ in range(_SURE_ROUNDS):
            sure = self.bender.means @ sure
        return np.asarray(self.stiffer * np.clip(1 / np.maximum(sure, 1e-3) ** 2, 1, _MOST_STIFF))

    def _folded(self, shape: DoubleArray) -> BoolArray:
        over = find_folds(self.bender, shape)
        crossing = find_crossings(shape, self.bender.faces) & ~self._rest_crossings
        return np.asarray(over | crossing)

    def _pulls(self, shape: DoubleArray, tether: float, reach: float = 0.0) -> Pulls:
        nothing = np.zeros(len(shape))
        near = self.tether * self.sound * tether
        far = _FAR_TETHER * (1 - self.tether * self.sound)
        share = (near / (near + far))[:, None]
        places = share * self.places + (1 - share) * self.far
        pulls = Pulls(near + far, places, nothing, shape, np.zeros_like(shape))
        if reach <= 0:
            return pulls
        found = self.target.find(shape, mesh_normals(shape, self.bender.faces), reach)
        return replace(
            pulls,
            plane_weight=found.weight * self.trust * self.sound,
            plane_points=found.points,
            plane_normals=found.normals,
        )
