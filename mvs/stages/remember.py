"""An embedder that asks another one only for what it has not said before."""

from __future__ import annotations

from collections.abc import Mapping

from mvs.cache import Store, digest
from mvs.types import ByteArray, CubeMap, Embedder, Square


class RememberingEmbedder:
    """An ``Embedder`` whose answers are kept in a store, one entry per picture and question.

    Attributes:
        name: of the embedder asked.
        wants_distorted: as that embedder does.
    """

    def __init__(self, embedder: Embedder, store: Store, keys: Mapping[str, str]) -> None:
        """Ask ``embedder``.

        Args:
            embedder: the one asked.
            store: of its answers.
            keys: per picture's name, hash of the embedder and of all it may see of the picture.
        """
        self.name = embedder.name
        self.wants_distorted = embedder.wants_distorted
        self._embedder = embedder
        self._store = store
        self._keys = keys

    def find_head(self, image: ByteArray, name: str | None = None) -> Square | None:
        """Square around the head, see ``Embedder``."""
        if name is None:
            return self._embedder.find_head(image)
        key = digest("find", self._keys[name])
        return self._store.take("embed", key, lambda: self._embedder.find_head(image, name))

    def embed(
        self, image: ByteArray, region: Square | None = None, name: str | None = None
    ) -> CubeMap:
        """Cube map of a picture or a region, see ``Embedder``."""
        if name is None:
            return self._embedder.embed(image, region)
        key = digest("embed", self._keys[name], region)
        return self._store.take("embed", key, lambda: self._embedder.embed(image, region, name))
