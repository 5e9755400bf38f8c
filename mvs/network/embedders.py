"""The embedders by name. To add one, write ``mvs/network/<name>.py`` and register its loader.

Loaders import their network when they are called: PyTorch takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mvs.types import Embedder


@dataclass(frozen=True)
class EmbedderSource:
    """Where an embedder gets what it needs.

    Attributes:
        weights: weights file; the embedder's own default if None.
        cube_maps: folder of precomputed cube maps.
        device: PyTorch's name of the device to compute on.
    """

    weights: Path | None = None
    cube_maps: Path | None = None
    device: str = "cpu"


def _load_compact(source: EmbedderSource) -> Embedder:
    from mvs.network.compact import load_compact

    return load_compact(source.weights, source.device)


def _load_densemarks(source: EmbedderSource) -> Embedder:
    from mvs.network.densemarks import load_densemarks

    return load_densemarks(source.weights, source.device)


def _load_precomputed(source: EmbedderSource) -> Embedder:
    from mvs.network.precomputed import PrecomputedEmbedder

    if source.cube_maps is None:
        raise ValueError("the precomputed embedder needs cube_maps, the folder of the maps")
    return PrecomputedEmbedder(source.cube_maps)


EMBEDDERS: dict[str, Callable[[EmbedderSource], Embedder]] = {
    "compact": _load_compact,
    "densemarks": _load_densemarks,
    "precomputed": _load_precomputed,
}


def load_embedder(
    name: str, weights: Path | None = None, cube_maps: Path | None = None, device: str = "cpu"
) -> Embedder:
    """Makes an embedder ready for use.

    Args:
        name: ``compact`` (ours, shipped), ``densemarks`` (the public model) or ``precomputed``.
        weights: weights file of a network; by default the shipped or fetched one.
        cube_maps: folder of ``<image name>.npz`` for ``precomputed``.
        device: where a network computes, as PyTorch names it (``cpu``, ``cuda``).

    Raises:
        ValueError: if the name is unknown, or an argument is given that the embedder does not use.
        CheckpointError: if the weights are absent or unusable.
        CaptureError: if the folder of cube maps is absent.
    """
    if name not in EMBEDDERS:
        raise ValueError(f"embedder must be one of {', '.join(EMBEDDERS)}, got {name!r}")
    if name == "precomputed" and weights is not None:
        raise ValueError("weights: the precomputed embedder uses none")
    if name != "precomputed" and cube_maps is not None:
        raise ValueError(f"cube_maps: the {name} embedder computes its own")
    return EMBEDDERS[name](EmbedderSource(weights, cube_maps, device))
