import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from mvs.network.head_finder import FinderOptions
from mvs.network.network_embedder import NetworkEmbedder, Prediction
from mvs.types import Square

SIZE = 48
# Seconds, where something waits: nothing is measured in them.
PATIENCE = 300
HEIGHT, WIDTH = 90, 120
CENTER, AXES = (66.0, 44.0), (24.0, 30.0)


def head_picture(center=CENTER, axes=AXES):
    """Red and green tell the position, blue the head; and the head."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    head = ((x - center[0]) / axes[0]) ** 2 + ((y - center[1]) / axes[1]) ** 2 <= 1
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 2 * x, 2 * y, 255 * head
    return image, head


def read_colours(crop):
    """The network of these tests: a pixel's colours are its coordinates, blue is head."""
    coords = crop.astype(np.float32) / 255
    return Prediction(coords, coords[..., 0] / 2 + np.float32(0.25), crop[..., 2] > 127)


def convolve(crop):
    """A network whose sums PyTorch splits among its threads, if it may."""
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((32, 3, 9, 9)))
    picture = torch.from_numpy(crop).permute(2, 0, 1)[None].double()
    features = torch.nn.functional.conv2d(picture, weight, padding=4)
    coords = features.flatten(2).softmax(dim=-1).unflatten(2, crop.shape[:2])[0, :3]
    mean = features.mean(dim=1)[0].float().numpy()
    return Prediction(coords.permute(1, 2, 0).float().numpy(), mean, crop[..., 2] > 127)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def embedder():
    return NetworkEmbedder("colours", read_colours, SIZE)


def test_whole_picture_has_its_own_resolution(embedder):
    image, head = head_picture()
    found = embedder.embed(image)
    for array, shape, dtype in (
        (found.coords, (HEIGHT, WIDTH, 3), np.float32),
        (found.confidence, (HEIGHT, WIDTH), np.float32),
        (found.mask, (HEIGHT, WIDTH), np.bool_),
    ):
        assert array.shape == shape
        assert array.dtype == dtype
    np.testing.assert_array_equal(found.image_from_map, np.eye(2, 3))
    # The crop is coarser than the picture: its rim is known within a pixel of the crop.
    assert (found.mask != head).sum() < 0.05 * head.sum()
    both = found.mask & head
    # Red and green are exact but for the crop's rounding to eight bits, and at the rim, where
    # neighbours are missing, for half a pixel of the crop.
    wrong = np.abs(found.coords - image / 255)[..., :2].max(axis=-1) * 255
    _, inner = head_picture(axes=np.subtract(AXES, 4))
    assert found.mask[inner].all()
    assert wrong[inner].max() < 0.6
    assert wrong[both].max() < 2.5
    np.testing.assert_allclose(
        found.confidence[both], found.coords[both][:, 0] / 2 + 0.25, atol=1e-5
    )


def test_region_has_the_network_s_resolution(embedder):
    image, _ = head_picture()
    region = Square((60.0, 40.0), 72.0)
    found = embedder.embed(image, region)
    assert found.coords.shape == (SIZE, SIZE, 3)
    assert found.mask.shape == found.confidence.shape == (SIZE, SIZE)
    np.testing.assert_allclose(found.image_from_map, [[1.5, 0, 24], [0, 1.5, 4]])
    index = np.arange(SIZE) + 0.5
    place = np.broadcast_to((24 + 1.5 * index) * 2 / 255, (SIZE, SIZE))
    assert np.abs(found.coords[..., 0] - place).max() < 1.1 / 255
    assert 0 < found.mask.sum() < SIZE**2


def test_nothing_beyond_the_picture_is_head():
    """Also where the network sees a head in the black beside it."""

    def everywhere(crop):
        return read_colours(crop)._replace(mask=np.ones(crop.shape[:2], bool))

    embedder = NetworkEmbedder("everywhere", everywhere, SIZE)
    image, _ = head_picture()
    found = embedder.embed(image, Square((WIDTH, HEIGHT / 2), 96.0))
    # The first row is centred 2 pixels above the picture, the second and the last but one on rims.
    expected = np.zeros((SIZE, SIZE), bool)
    expected[1:-1, : SIZE // 2] = True
    np.testing.assert_array_equal(found.mask, expected)
    whole = embedder.embed(image).mask
    assert whole[2:-2, 2:-2].all()


def test_no_head_gives_an_empty_mask(embedder):
    image, _ = head_picture()
    image[..., 2] = 0
    assert embedder.find_head(image) is None
    found = embedder.embed(image)
    assert found.mask.shape == (HEIGHT, WIDTH)
    assert found.coords.shape == (HEIGHT, WIDTH, 3)
    assert found.coords.dtype == found.confidence.dtype == np.float32
    assert not found.mask.any()
    assert not found.confidence.any()


def test_finds_what_it_embeds(embedder):
    image, _ = head_picture()
    found = embedder.find_head(image)
    np.testing.assert_allclose(found.center, CENTER, atol=2)
    assert found.side == pytest.approx(60 * FinderOptions.margin, abs=4)


def test_a_finder_s_options_are_used():
    image, _ = head_picture()
    tight = NetworkEmbedder("tight", read_colours, SIZE, finder=FinderOptions(margin=1.0))
    assert tight.find_head(image).side == pytest.approx(60, abs=3)
    blind = NetworkEmbedder("blind", read_colours, SIZE, finder=FinderOptions(min_share=0.9))
    assert blind.find_head(image) is None


def test_without_a_mask_the_picture_is_the_head():
    calls = []

    def predict(crop):
        calls.append(crop)
        return read_colours(crop)

    embedder = NetworkEmbedder("maskless", predict, SIZE, has_mask=False)
    image, _ = head_picture()
    assert embedder.find_head(image) == Square((60.0, 45.0), 120.0)
    assert calls == []
    embedder.embed(image)
    assert len(calls) == 1


def test_attributes(embedder):
    assert embedder.name == "colours"
    assert embedder.size == SIZE
    assert embedder.wants_distorted is False


def test_the_name_of_a_picture_changes_nothing(embedder):
    image, _ = head_picture()
    np.testing.assert_array_equal(
        embedder.embed(image).coords, embedder.embed(image, name="a").coords
    )
    assert embedder.find_head(image) == embedder.find_head(image, "left/b.png")


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)]
)
def test_other_arrays_are_refused(embedder, image):
    for call in (
        embedder.find_head,
        embedder.embed,
        lambda picture: embedder.embed(picture, Square((4.0, 4.0), 8.0)),
    ):
        with pytest.raises(ValueError, match="image must be"):
            call(image)


def test_square_without_area_is_refused(embedder):
    with pytest.raises(ValueError, match="side > 0"):
        embedder.embed(head_picture()[0], Square((4.0, 4.0), 0.0))


def test_network_runs_without_gradients_on_one_thread(two_threads):
    seen = []

    def predict(crop):
        seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return read_colours(crop)

    embedder = NetworkEmbedder("watcher", predict, SIZE)
    embedder.embed(head_picture()[0])
    embedder.embed(head_picture()[0], Square((60.0, 40.0), 50.0))
    assert set(seen) == {(1, True)}
    assert torch.get_num_threads() == 2
    assert not torch.is_inference_mode_enabled()


def test_number_of_threads_is_restored_after_an_error(two_threads):
    def fail(crop):
        raise RuntimeError("broken network")

    embedder = NetworkEmbedder("broken", fail, SIZE)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken network"):
            embedder.embed(head_picture()[0])
        assert torch.get_num_threads() == 2
        assert not torch.is_inference_mode_enabled()


def test_pictures_that_overlap_in_time_all_get_one_thread(two_threads):
    """Two pictures are inside at once, and the first to enter leaves first."""
    entered, leave = threading.Barrier(2, timeout=PATIENCE), threading.Event()
    seen = []

    def predict(crop):
        is_first = crop[0, 0, 0] == 0
        entered.wait()
        if not is_first:
            assert leave.wait(PATIENCE)
        seen.append(torch.get_num_threads())
        return read_colours(crop)

    embedder = NetworkEmbedder("meeting", predict, SIZE, has_mask=False)

    def embed(value):
        embedder.embed(np.full((SIZE, SIZE, 3), value, np.uint8))
        if value == 0:
            leave.set()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(embed, value) for value in (0, 9)]:
            future.result(timeout=PATIENCE)
    assert seen == [1, 1]
    # A thread made from now on may use both again.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result(timeout=PATIENCE) == 2


def as_bytes(cube_map):
    return cube_map.coords.tobytes() + cube_map.confidence.tobytes() + cube_map.mask.tobytes()


def test_same_bytes_whatever_the_number_of_threads(two_threads):
    embedder = NetworkEmbedder("convolution", convolve, SIZE)
    pictures = [head_picture((60.0 + shift, 44.0))[0] for shift in range(4)]
    expected = [as_bytes(embedder.embed(picture)) for picture in pictures]
    torch.set_num_threads(1)
    assert [as_bytes(embedder.embed(picture)) for picture in pictures] == expected
    torch.set_num_threads(2)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda p: as_bytes(embedder.embed(p)), pictures)) == expected
    assert len(set(expected)) == 4
