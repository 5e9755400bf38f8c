"""Turns any network that answers for one square crop into an ``Embedder``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mvs.cache import file_digest
from mvs.network.crop import check_image, empty_cube_map, paste_cube_map, sample_region
from mvs.network.head_finder import FinderOptions, find_head, whole_picture
from mvs.network.one_thread import one_thread
from mvs.types import BoolArray, ByteArray, CubeMap, FloatArray, Square


class Prediction(NamedTuple):
    """What a network says of one crop of size S; finite everywhere, of meaning on the head only.

    Attributes:
        coords: (S, S, 3) float32 in [0, 1].
        confidence: (S, S) float32, 1 sure, 0 not. A network that estimates the variance of its
            coordinates (squared cube units) gives 1 / (1 + variance / 0.01^2): it falls with the
            expected error and is a half where that is 1 % of the cube.
        mask: (S, S) bool, True on the head.
        normals: (S, S, 3) float32 unit normals in the head's frame, None if the network has none.
    """

    coords: FloatArray
    confidence: FloatArray
    mask: BoolArray
    normals: FloatArray | None = None


class NetworkEmbedder:
    """An ``Embedder`` around a function from a crop to its prediction.

    The function, ``predict``, gets a (size, size, 3) uint8 RGB crop, black where it leaves the
    picture, and returns a ``Prediction`` of the same size; bringing the crop to the network's range
    and layout and the network's answer to arrays is its duty. It is called without gradients, with
    one thread per operation, and from several threads at once, so it must keep no state. To be
    found, heads a fifth as wide as the crop must show in the mask, and nothing else must.

    Every picture is computed on one core whatever the machine has, so that its bytes never depend
    on a number of threads. The methods may be called from several threads at once: to use several
    cores, embed several pictures in a thread pool (PyTorch releases the interpreter lock).

    Attributes:
        name: name of the network.
        size: side of the crops the network takes, in pixels.
        wants_distorted: False; the network learnt on pinhole pictures.
        weights: file that the network was read from, None where that is not known.
        device: where it computes.
    """

    wants_distorted = False
    weights: Path | None = None
    device = "cpu"

    def __init__(
        self,
        name: str,
        predict: Callable[[ByteArray], Prediction],
        size: int,
        *,
        finder: FinderOptions | None = None,
        has_mask: bool = True,
        predict_mask: Callable[[ByteArray], BoolArray] | None = None,
    ) -> None:
        """Wraps a network.

        Args:
            name: name of the network.
            predict: a crop's prediction, see above.
            size: side of the crops.
            finder: how the head is looked for.
            has_mask: whether the network tells head from background; if not, the head is taken to
                be the whole picture.
            predict_mask: a cheaper way to a crop's mask alone, to find the head with.
        """
        self.name = name
        self.size = size
        self._predict = predict
        self._finder = finder or FinderOptions()
        self._has_mask = has_mask
        self._predict_mask = predict_mask or (lambda crop: predict(crop).mask)

    def identity(self, name: str) -> str | None:  # noqa: ARG002
        """Network, size, device and the SHA-256 of its weights; None where they are not known.

        Args:
            name: unused.

        Raises:
            OSError: if the file of the weights cannot be read.
        """
        return self._identity

    @cached_property
    def _identity(self) -> str | None:
        if self.weights is None:
            return None
        return f"{self.name} {self.size} {self.device} sha256:{file_digest(self.weights)}"

    def find_head(self, image: ByteArray, name: str | None = None) -> Square | None:  # noqa: ARG002
        """Square around the head, or None where no head is seen.

        Args:
            image: (H, W, 3) uint8 RGB.
            name: unused.

        Raises:
            ValueError: if the picture is not (H, W, 3) uint8.
        """
        check_image(image)
        if not self._has_mask:
            return whole_picture(image)
        with one_thread():
            return find_head(image, self._predict_mask, self.size, self._finder)

    def embed(
        self,
        image: ByteArray,
        region: Square | None = None,
        name: str | None = None,  # noqa: ARG002
    ) -> CubeMap:
        """Cube map of a picture, or of one square region of it.

        Args:
            image: (H, W, 3) uint8 RGB.
            region: what the network shall see; the map then has the network's own resolution.
                Without, the head is found first and the map has the picture's resolution, with an
                empty mask where no head was found.
            name: unused.

        Raises:
            ValueError: if the picture is not (H, W, 3) uint8 or the region has no area.
        """
        check_image(image)
        if region is not None:
            return self._embed_region(image, region)
        height, width = image.shape[:2]
        head = self.find_head(image)
        if head is None:
            return empty_cube_map(height, width)
        return paste_cube_map(self._embed_region(image, head), height, width)

    def _embed_region(self, image: ByteArray, region: Square) -> CubeMap:
        crop = sample_region(image, region, self.size)
        with one_thread():
            answer = self._predict(crop.image)
        mask = answer.mask & crop.inside
        maps = (answer.coords, answer.confidence, mask, crop.image_from_map, answer.normals)
        return CubeMap(*maps)
