from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mvs.tracks.pairs import PAIR, read_pairs
from mvs.training.loop import Trainer
from mvs.training.options import Schedule, TrainOptions
from mvs.training.pairs import PairStream
from tests.training.conftest import tracked_pair, write_pairs

N_PAIRS = 5


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    rng = np.random.default_rng(5)
    write_pairs(folder, [tracked_pair(rng) for _ in range(N_PAIRS)])
    return folder


@pytest.fixture
def options(shards, small, tracks, tmp_path):
    return TrainOptions(
        data=shards,
        output=tmp_path / "run",
        tracks=(tracks,),
        tracks_share=0.5,
        use_cube=True,
        n_shards=1,
        schedule=Schedule(3, 0, 3, 4, 4, learning_rate=2e-3, warm_up=2, checkpoint_every=3),
        network=small,
    )


def test_a_batch_is_the_pairs_as_written(tracks):
    (records,) = read_pairs(tracks)
    batch = PairStream([tracks], 3, 0).get(4)
    assert batch.pictures.shape == (6, 3, 256, 256)
    assert batch.mask.shape == (6, 1, 128, 128)
    for pair in range(3):
        first = batch.pictures[2 * pair].permute(1, 2, 0).numpy()
        (match,) = [r for r in records if np.array_equal(r["images"][0], first)]
        np.testing.assert_array_equal(
            batch.pictures[2 * pair + 1].permute(1, 2, 0), match["images"][1]
        )
        np.testing.assert_array_equal(batch.points[pair], match["points"][: match["n_points"]])
        np.testing.assert_array_equal(batch.mask[2 * pair + 1, 0], match["mask"][1])


def test_a_step_s_pairs_depend_on_its_number_alone(tracks):
    stream = PairStream([tracks, tracks], 3, 0)
    stream.get(1)
    one, two = stream.get(7), PairStream([tracks, tracks], 3, 0).get(7)
    assert torch.equal(one.pictures, two.pictures)
    assert torch.equal(one.warps, two.warps)
    assert not torch.equal(one.warps, stream.get(8).warps)


def test_both_sources_are_used_and_reported(options):
    reports = list(Trainer(options).run())
    names = set().union(*reports)
    assert {"distance", "cube_contrastive", "cube_segmentation"} <= names
    assert {"tracks_contrastive", "tracks_equivariance", "tracks_mask"} <= names


def test_share_one_is_tracks_alone(options):
    reports = list(Trainer(replace(options, tracks_share=1.0)).run())
    assert all("distance" not in report for report in reports)


def test_stopped_and_gone_on_is_the_same_with_a_cube_and_tracks(options, tmp_path):
    list(Trainer(options).run())
    parts = replace(options, output=tmp_path / "parts")
    stopped = Trainer(parts).run()
    next(stopped)
    stopped.close()
    list(Trainer(parts).run())
    a, b = (load_file(path / "state.safetensors") for path in (options.output, parts.output))
    assert a.keys() == b.keys()
    assert "objective.cube.raw" in a
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.slow
def test_tracks_alone_bring_matched_points_together(options):
    """Nothing tells the coordinates; the contrast and the warps are enough for agreement."""
    schedule = Schedule(0, 0, 24, 4, 4, learning_rate=3e-3, warm_up=5, checkpoint_every=12)
    longer = replace(options, tracks_share=1.0, use_cube=False, schedule=schedule)
    first, last = list(Trainer(longer).run())
    assert last["tracks_contrastive"] < 0.9 * first["tracks_contrastive"]


def test_a_folder_without_pairs_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="mvs tracks"):
        PairStream([tmp_path], 2, 0)


def test_records_are_plain():
    assert PAIR["images"].shape == (2, 256, 256, 3)
