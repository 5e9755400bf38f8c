"""A person to photograph: posed head, hair or hat, clothes, glasses, look and light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mvs.kernels.raster import vertex_normals
from mvs.synthetic import drawing, headgear, shells
from mvs.synthetic.drawing import Lighting, Surface
from mvs.synthetic.glasses import GlassesStyle, make_glasses
from mvs.synthetic.head import EYEBALL_RANGES, FACE, HEAD_NECK, TEETH_RANGE, Head
from mvs.synthetic.lights import Lights, ambient_occlusion, cast_shadow
from mvs.synthetic.locks import Locks, LockStyle, grow_locks
from mvs.synthetic.regions import label_vertices, region_index, vertex_regions
from mvs.synthetic.skull import Skull, map_skull
from mvs.types import ByteArray, FloatArray

_REGION_OF = {
    drawing.CLOTH: "cloth",
    drawing.HAT: "hat",
    drawing.FRAME: "glasses",
    drawing.LENS: "glasses",
    drawing.HAIR: "hair",
}
_NECK_PIVOT = (0.0, -7.0, -2.0)


@dataclass(frozen=True)
class Studio:
    """A head model with everything about it that does not depend on the person."""

    head: Head

    @cached_property
    def regions(self) -> ByteArray:
        """(V,) uint8 index into ``REGIONS`` of the head's vertices."""
        return label_vertices(self.head, vertex_regions(self.head))

    @cached_property
    def features(self) -> FloatArray:
        """(V, 8) float32 shading features of the head's vertices."""
        regions = vertex_regions(self.head)
        features = np.zeros((len(self.head.template), drawing.N_FEATURES), np.float32)
        skin = np.isin(self.head.vertex_part, (FACE, HEAD_NECK))
        features[:, drawing.LIP] = regions.lip
        features[:, drawing.LID] = regions.lid
        features[:, drawing.BROW] = regions.brow
        features[:, drawing.BEARD] = regions.beard
        features[:, drawing.BLUSH] = regions.blush
        features[:, drawing.HEIGHT] = regions.hair
        features[:, drawing.SCALP] = skin
        template, faces = self.head.template, self.head.faces
        seen = ambient_occlusion(template, vertex_normals(template, faces), faces)
        features[:, drawing.OCCLUSION] = np.where(
            skin, np.maximum(seen, 0.08), np.maximum(seen, 0.4)
        )
        return features

    @cached_property
    def materials(self) -> npt.NDArray[np.uint8]:
        """(F,) uint8 material of the head's faces."""
        per_vertex = np.full(len(self.head.template), drawing.MOUTH, np.uint8)
        per_vertex[np.isin(self.head.vertex_part, (FACE, HEAD_NECK))] = drawing.SKIN
        per_vertex[slice(*self.head.ranges[TEETH_RANGE])] = drawing.TEETH
        for span in EYEBALL_RANGES:
            per_vertex[slice(*self.head.ranges[span])] = drawing.EYE
        return np.asarray(per_vertex[self.head.faces[:, 0]])

    @cached_property
    def scalp(self) -> shells.Patch:
        """Where hair and hats grow."""
        return shells.scalp_patch(self.head)

    @cached_property
    def hood(self) -> shells.Patch:
        """What a hood covers."""
        return headgear.hood_patch(self.head)

    @cached_property
    def skull(self) -> Skull:
        """The skin by direction."""
        return map_skull(self.head, self.scalp.template)

    @cached_property
    def shoulders(self) -> shells.Patch:
        """What clothes cover."""
        return shells.cloth_patch(self.head)


@dataclass(frozen=True)
class Person:
    """Everything a scene is made of, before it is built.

    Attributes:
        identity: (100,) mode weights.
        expression: (57,) activations.
        neck: (3,) rotation vector of the shoulders against the head, radians.
        hair: shape of the hair, None for a bald head.
        locks: how the hair is combed, None for its shell alone.
        bun: (centre y, centre z, radius) cm of a bun, None without.
        hat: (level, tilt, thickness) cm, None without.
        collar: (height, looseness) of the shirt, cm.
        glasses: shape, None without.
        dark_lenses: whether the glasses are sunglasses.
        look: (1,) array of ``look.LOOK``.
        lights: what lights the scene.
        hood: hood or head scarf, None without.
        visor: length of the hat's peak, cm, 0 without.
    """

    identity: FloatArray
    expression: FloatArray
    neck: FloatArray
    hair: shells.HairStyle | None
    locks: LockStyle | None
    bun: tuple[float, float, float] | None
    hat: tuple[float, float, float] | None
    collar: tuple[float, float]
    glasses: GlassesStyle | None
    dark_lenses: bool
    look: npt.NDArray[np.void]
    lights: Lights
    hood: headgear.HoodStyle | None = None
    visor: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Surfaces ready to be photographed.

    Attributes:
        layers: head, then what is worn, then hair from inside out; drawn in this order.
        locks: of hair, drawn after the layers.
        panes: clear glasses, drawn last.
        lighting: for the shading kernel.
        look: (1,) array of ``look.LOOK``.
        eyes: (2, 3) float32 template centres of the eyeballs.
        head: (V, 3) float32 posed vertices of the head model, cm.
    """

    layers: tuple[Surface, ...]
    locks: Locks | None
    panes: Surface | None
    lighting: Lighting
    look: npt.NDArray[np.void]
    eyes: FloatArray
    head: FloatArray


def build_scene(studio: Studio, person: Person, hair_levels: tuple[float, ...]) -> Scene:
    """Build a person's surfaces.

    Args:
        studio: the head model.
        person: who.
        hair_levels: relative heights of the translucent layers that hair is drawn in, 0..1.

    Returns:
        The scene, in the head's frame (cm, y up, face to +z).
    """
    posed = studio.head.pose(person.identity, person.expression)
    posed = bend_neck(posed, studio.head.template, person.neck)
    seed = person.look["seed"][0]
    body = [_head_surface(studio, posed)]
    panes = None
    if person.glasses is not None:
        frame, panes = _glasses(studio, posed, person.glasses, 1.0 if person.dark_lenses else 0.3)
        body.append(frame)
        if person.dark_lenses:
            body.append(panes)
            panes = None
    shirt = shells.dress(studio.shoulders, posed, *person.collar, seed)
    worn = [_shell_surface(shirt, drawing.CLOTH, 1.0)]
    if person.hat is not None:
        hat = shells.put_hat(studio.scalp, posed, *person.hat)
        worn.append(_shell_surface(hat, drawing.HAT, 1.0))
        if person.visor > 0:
            visor = headgear.put_visor(studio.scalp, posed, *person.hat[:2], person.visor)
            worn.append(_shell_surface(visor, drawing.HAT, 1.0))
    if person.hood is not None:
        hood = headgear.put_hood(studio.hood, posed, person.hood, seed)
        worn.append(_shell_surface(hood, drawing.HAT, 1.0))
    hair = _hair_surfaces(studio, posed, person, hair_levels)
    layers = (merge(body), merge(worn), *hair)
    locks = _locks(studio, posed, person)
    lighting = _lighting(person.lights, merge(list(layers[:3])))
    return Scene(layers, locks, panes, lighting, person.look, studio.head.eye_centers, posed)


def merge(surfaces: list[Surface]) -> Surface:
    """Several surfaces as one."""
    starts = np.cumsum([0] + [len(s.positions) for s in surfaces[:-1]])
    faces = [s.faces + np.int32(start) for s, start in zip(surfaces, starts, strict=True)]
    return Surface(
        np.concatenate([s.positions for s in surfaces]),
        np.concatenate([s.canonical for s in surfaces]),
        np.concatenate([s.normals for s in surfaces]),
        np.concatenate([s.features for s in surfaces]),
        np.concatenate(faces),
        np.concatenate([s.materials for s in surfaces]),
        np.concatenate([s.regions for s in surfaces]),
    )


def _head_surface(studio: Studio, posed: FloatArray) -> Surface:
    head = studio.head
    normals = vertex_normals(posed, head.faces)
    return Surface(
        posed,
        head.template,
        normals,
        studio.features,
        head.faces,
        studio.materials,
        studio.regions,
    )


def _shell_surface(shell: shells.Shell, material: int, occlusion: float) -> Surface:
    features = np.zeros((len(shell.vertices), drawing.N_FEATURES), np.float32)
    features[:, drawing.COVER] = shell.cover
    features[:, drawing.OCCLUSION] = occlusion
    return Surface(
        shell.vertices,
        shell.canonical,
        vertex_normals(shell.vertices, shell.faces),
        features,
        shell.faces,
        np.full(len(shell.faces), material, np.uint8),
        np.full(len(shell.vertices), region_index(_REGION_OF[material]), np.uint8),
    )


def _glasses(studio: Studio, posed: FloatArray, style: GlassesStyle, cover: float) -> list[Surface]:
    """Frame and lenses, moved with the eyes; lenses that cover less than half are clear."""
    head = studio.head
    frame, frame_faces, lens, lens_faces = make_glasses(style, head.eye_centers)
    balls = np.concatenate([np.arange(*head.ranges[span]) for span in EYEBALL_RANGES])
    shift = (posed[balls] - head.template[balls]).mean(axis=0)
    surfaces = []
    for vertices, faces, material, share in (
        (frame, frame_faces, drawing.FRAME, 1.0),
        (lens, lens_faces, drawing.LENS, cover),
    ):
        solid = np.full(len(vertices), share, np.float32)
        shell = shells.Shell((vertices + shift).astype(np.float32), vertices, faces, solid)
        surfaces.append(_shell_surface(shell, material, 1.0))
    return surfaces


def _hair_surfaces(
    studio: Studio, posed: FloatArray, person: Person, levels: tuple[float, ...]
) -> list[Surface]:
    if person.hair is None:
        return []
    seed = person.look["seed"][0]
    shell = shells.grow_hair(studio.scalp, posed, person.hair, seed)
    base, template = studio.scalp.on(posed), studio.scalp.template
    surfaces = []
    for level in levels:
        share = np.float32(0.72 + 0.34 * level)
        layer = shells.Shell(
            base + share * (shell.vertices - base),
            template + share * (shell.canonical - template),
            shell.faces,
            shell.cover,
        )
        surface = _shell_surface(layer, drawing.HAIR, 0.75 + 0.25 * level)
        surface.features[:, drawing.LEVEL] = level
        if person.bun is not None:
            surface = merge([surface, _bun(studio, posed, person.bun, level)])
        surfaces.append(surface)
    return surfaces


def _locks(studio: Studio, posed: FloatArray, person: Person) -> Locks | None:
    if person.hair is None or person.locks is None:
        return None
    shell = shells.grow_hair(studio.scalp, posed, person.hair, person.look["seed"][0])
    return grow_locks(studio.scalp, studio.skull, posed, studio.head.template, shell, person.locks)


def _bun(
    studio: Studio, posed: FloatArray, bun: tuple[float, float, float], level: float
) -> Surface:
    """A ball of hair."""
    y, z, radius = bun
    rings, sides = 14, 22
    polar = np.linspace(0, np.pi, rings)[:, None]
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None]
    ball = np.stack(
        [np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.cos(turn)], -1
    ).reshape(-1, 3)
    canonical = (ball * (0.9 + 0.12 * level) * radius + [0, y, z]).astype(np.float32)
    near = np.argmin(np.linalg.norm(studio.scalp.template - [0, y, z], axis=1))
    shift = studio.scalp.on(posed)[near] - studio.scalp.template[near]
    i, j = (k.ravel() for k in np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij"))
    a, b = i * sides + j, i * sides + (j + 1) % sides
    faces = np.concatenate([np.stack([a, a + sides, b], 1), np.stack([b, a + sides, b + sides], 1)])
    shell = shells.Shell(
        canonical + shift.astype(np.float32),
        canonical,
        faces.astype(np.int32),
        np.full(len(canonical), 3.0, np.float32),
    )
    surface = _shell_surface(shell, drawing.HAIR, 0.75 + 0.25 * level)
    surface.features[:, drawing.LEVEL] = level
    return surface


def _lighting(lights: Lights, caster: Surface) -> Lighting:
    depth, transform = np.full((1, 1), np.inf, np.float32), np.zeros((3, 4), np.float32)
    if len(lights.directions):
        shadow = cast_shadow(caster.positions, caster.faces, lights.directions[0])
        depth, transform = shadow.depth, shadow.map_from_head
    return Lighting(
        lights.ambient, lights.directions, lights.colors, depth, transform, lights.softness
    )


def bend_neck(vertices: FloatArray, template: FloatArray, rotation: FloatArray) -> FloatArray:
    """Turn the shoulders below the neck; the head stays where it is, and so does the jaw.

    Args:
        vertices: (V, 3) of a person.
        template: (V, 3) where the same places lie on the mean head.
        rotation: (3,) rotation vector of the shoulders.
    """
    from scipy.spatial.transform import Rotation

    # From below the skull, in front from below the jaw, which slants.
    top = np.clip(-4.5 - 0.45 * template[:, 2], -9.0, -3.0)
    t = np.clip((top - template[:, 1]) / (top + 13.0), 0.0, 1.0)
    moved = np.flatnonzero(t > 0)
    t = t[moved]
    turns = Rotation.from_rotvec((t * t * (3 - 2 * t))[:, None] * rotation)
    bent = vertices.copy()
    bent[moved] = turns.apply(vertices[moved] - _NECK_PIVOT) + _NECK_PIVOT
    return bent
