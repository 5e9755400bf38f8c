"""Random people: wide draws of everything a ``Person`` holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mvs.synthetic.glasses import GlassesStyle
from mvs.synthetic.head import Head
from mvs.synthetic.headgear import HoodStyle
from mvs.synthetic.lights import random_lights
from mvs.synthetic.locks import LockStyle
from mvs.synthetic.look import random_look, vary_look
from mvs.synthetic.scene import Person
from mvs.synthetic.shells import HairStyle
from mvs.types import FloatArray

_COMBS = ("crown", "forward", "back", "side", "down", "up", "none")
_COMB_SHARE = (0.18, 0.2, 0.2, 0.2, 0.14, 0.04, 0.04)


def random_person(head: Head, rng: np.random.Generator) -> Person:
    """Draw a person, with clothes and light.

    Args:
        head: the model whose modes are drawn.
        rng: source of randomness; the same state gives the same person.
    """
    look = random_look(rng)
    vary_look(look, rng)
    identity = rng.normal(0, rng.uniform(0.4, 1.5), len(head.identity_modes)).astype(np.float32)
    hat = None
    if rng.random() < 0.12:
        hat = (rng.uniform(5.0, 8.5), rng.uniform(0.0, 0.35), rng.uniform(0.4, 1.1))
    hair = random_hair(rng) if rng.random() < 0.85 else None
    if hat is not None and hair is not None:
        hair = HairStyle(0.35, 1.0, 0.08, 1.5, hair.length, hair.line + 0.3, 0.0)
    hood = random_hood(rng) if rng.random() < 0.04 else None
    if hood is not None:
        hair = hat = None
    if hair is None:
        look["shaved"] = rng.uniform(0, 1)
    bun = None
    if hair is not None and hat is None and rng.random() < 0.1:
        bun = (rng.uniform(6, 15), -rng.uniform(5, 9), rng.uniform(2, 4))
        bun = (bun[0], bun[1] + max(0.0, bun[0] - 9) * 0.7, bun[2])
    glasses = random_glasses(rng) if rng.random() < 0.2 else None
    return Person(
        identity=identity,
        expression=random_expression(head, rng),
        neck=(rng.normal(0, 1, 3) * [0.16, 0.3, 0.12]).astype(np.float32),
        hair=hair,
        locks=None if hair is None or rng.random() < 0.08 else random_locks(hair, hat, bun, rng),
        bun=bun,
        hat=hat,
        collar=(rng.uniform(-12.5, -7.8), rng.uniform(0.15, 1.0) ** 1.5 * 1.4),
        glasses=glasses,
        dark_lenses=glasses is not None and rng.random() < 0.25,
        look=look,
        lights=random_lights(rng),
        hood=hood,
        visor=rng.uniform(4.0, 8.0) if hat is not None and rng.random() < 0.45 else 0.0,
    )


def shown_person(head: Head, rng: np.random.Generator) -> Person:
    """Draw a person of whom the face counts: few hats and hoods, every identity far from the mean.

    Args:
        head: the model whose modes are drawn.
        rng: source of randomness.
    """
    person = often_bareheaded(random_person(head, rng), rng)
    identity = rng.normal(0, rng.uniform(0.8, 1.3), len(person.identity))
    return replace(person, identity=identity.astype(np.float32))


def often_bareheaded(person: Person, rng: np.random.Generator) -> Person:
    """A person without hat and hood, in six of ten draws."""
    if rng.random() < 0.6:
        return replace(person, hat=None, visor=0.0, hood=None)
    return person


def covered_person(head: Head, rng: np.random.Generator) -> Person:
    """Draw a person, in half of all draws in a hood; hair of the others falls forward or down.

    Args:
        head: the model whose modes are drawn.
        rng: source of randomness.
    """
    person = random_person(head, rng)
    if rng.random() < 0.5:
        bare = replace(person, hair=None, locks=None, bun=None, hat=None, visor=0.0)
        return replace(bare, hood=random_hood(rng))
    if person.locks is None:
        return person
    strands = replace(
        person.locks,
        comb="forward" if rng.random() < 0.6 else "down",
        length=max(person.locks.length, rng.uniform(6, 14)),
        fringe=True,
        loose=0.02 + 0.3 * rng.random(),
    )
    return replace(person, locks=strands)


def random_expression(head: Head, rng: np.random.Generator) -> FloatArray:
    """Draw (57,) activations: a third neutral, else a few muscles, left and right mostly alike."""
    names = head.expression_names
    expression = np.zeros(len(names), np.float32)
    kind = rng.random()
    if kind < 0.3:
        return expression
    muscles = int(rng.integers(1, 7)) if kind < 0.85 else int(rng.integers(6, 16))
    for _ in range(muscles):
        index = int(rng.integers(len(names)))
        amount = rng.uniform(0, 1) ** 1.5
        for other in _twins(names, index):
            expression[other] = amount * (1 if other == index else rng.uniform(0.6, 1.0))
    if rng.random() < 0.3:
        expression[names.index("jawOpen")] = rng.uniform(0, 1) ** 1.5
    if rng.random() < 0.35:
        smile = rng.uniform(0.1, 1)
        for index in _twins(names, names.index("mouthSmile_L")):
            expression[index] = smile
    lids = rng.uniform(0, 1) if rng.random() < 0.15 else 0.0
    for index in _twins(names, names.index("eyeBlink_L")):
        expression[index] = lids
    return expression


def random_hair(rng: np.random.Generator) -> HairStyle:
    """Draw a head of hair, from cropped to long and from flat to voluminous."""
    kind = rng.random()
    if kind < 0.35:  # short
        thickness, side, length = rng.uniform(0.2, 1.6), rng.uniform(0.25, 1), 0.0
    elif kind < 0.7:  # medium
        thickness, side, length = rng.uniform(1.2, 3.5), rng.uniform(0.35, 0.95), 0.0
    elif kind < 0.77:  # a big round head of hair
        thickness, side, length = rng.uniform(3.0, 6.5), rng.uniform(0.7, 1.0), 0.0
    else:  # falling
        thickness, side = rng.uniform(0.6, 2.5), rng.uniform(0.5, 1)
        length = 17.0 * rng.uniform(0.24, 1.0) ** 2
    return HairStyle(
        thickness=thickness,
        side=side,
        lump=rng.uniform(0.05, 0.4) * min(thickness, 3.5),
        curl=rng.uniform(0.9, 4.0),
        length=length,
        line=rng.uniform(-1.8, 1.2) if rng.random() < 0.8 else rng.uniform(1.0, 4.0),
        parting=rng.uniform(-3, 3) if rng.random() < 0.35 else 0.0,
    )


def random_locks(
    hair: HairStyle,
    hat: tuple[float, float, float] | None,
    bun: tuple[float, float, float] | None,
    rng: np.random.Generator,
) -> LockStyle:
    """Draw how a head of hair is combed."""
    comb = str(rng.choice(_COMBS, p=_COMB_SHARE))
    length = rng.uniform(2.0, 4.0) + 1.6 * hair.thickness
    lift, weight = rng.uniform(0.0, 0.6) ** 1.5, rng.uniform(0.0, 0.5)
    curly = rng.random() < 0.35
    frizz = rng.uniform(0, 1) ** 4
    if hair.thickness < 0.8:
        length = rng.uniform(0.4, 2.0)
    elif hair.length > 0:
        length, comb = rng.uniform(0.7, 1.2) * (hair.length + 12.0), "down"
        lift, weight = 0.1, rng.uniform(1.2, 2.5)
    elif comb in ("up", "none"):
        length, lift, frizz = 0.6 * length, rng.uniform(0.3, 0.9), frizz + 0.2
    if hat is not None:
        comb, lift, weight, frizz = "down", 0.0, 0.8, 0.2 * frizz
    elif bun is not None:
        comb, lift, weight, curly = "tied", 0.0, 0.0, False
    return LockStyle(
        comb=comb,
        length=length,
        lift=lift,
        weight=weight,
        curl=rng.uniform(0.15, 0.2 + 0.07 * length) if curly else rng.uniform(0, 0.12),
        pitch=rng.uniform(1.2, 5.0),
        frizz=frizz,
        clump=rng.uniform(0, 0.9),
        loose=0.02 if hat is not None else 0.02 + 0.2 * rng.uniform(0, 1) ** 2,
        width=rng.uniform(0.08, 0.3) if hair.thickness >= 0.8 else rng.uniform(0.05, 0.12),
        fringe=hat is None and rng.random() < 0.25,
        count=int(rng.integers(900, 2200)),
        parting=hair.parting or rng.uniform(-2.5, 2.5),
        tie=(9.0, -9.0) if bun is None else bun[:2],
    )


def random_hood(rng: np.random.Generator) -> HoodStyle:
    """Draw a hood or a head scarf."""
    return HoodStyle(
        width=rng.uniform(5.2, 6.9),
        height=rng.uniform(6.3, 8.8),
        thickness=rng.uniform(0.3, 1.2),
        bulk=rng.uniform(0.0, 2.2),
        fold=rng.uniform(0.05, 0.7),
    )


def random_glasses(rng: np.random.Generator) -> GlassesStyle:
    """Draw a pair of glasses."""
    width = rng.uniform(4.4, 5.8)
    return GlassesStyle(
        width=width,
        height=width * rng.uniform(0.55, 0.95),
        roundness=rng.uniform(2.0, 5.0),
        wire=rng.uniform(0.06, 0.24),
        drop=rng.uniform(-0.2, 0.9),
        forward=rng.uniform(2.9, 3.8),
    )


def _twins(names: tuple[str, ...], index: int) -> list[int]:
    """The expression and its mirror image."""
    name = names[index]
    if name[-2:] not in ("_L", "_R"):
        return [index]
    return [names.index(name[:-1] + side) for side in "LR"]
