"""From a source to shards: the same bytes each time, whole or not at all, one line on errors."""

import json

import numpy as np
import pytest

from calib.capture import CaptureError
from mvs.tracks.choose import choose_pairs
from mvs.tracks.make import count_pictures, write_tracks
from mvs.tracks.options import TracksOptions
from mvs.tracks.overlay import draw_overlay
from mvs.tracks.pairs import PAIR, MatchedPair, read_description, read_pairs, shard_path
from tests.tracks.moving import SIZE, BrightEmbedder, frames, to_first, write_frames, write_video


@pytest.fixture(scope="module")
def pictures():
    return frames(7)


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("source") / "frames", pictures)


def options(output, **changes):
    output.mkdir(exist_ok=True)
    return TracksOptions(output=output, **changes)


def test_a_video_becomes_pairs(tmp_path, pictures):
    video = write_video(tmp_path / "disc.avi", pictures)
    steps = []
    write_tracks(video, BrightEmbedder(), options(tmp_path / "out"), lambda: steps.append(1))
    (shard,) = read_pairs(tmp_path / "out")
    about = read_description(tmp_path / "out")
    assert len(steps) == count_pictures(video, 1) == len(pictures)
    assert (about["kind"], about["n_pictures"], about["n_heads"]) == ("video", 7, 7)
    assert about["n_pairs"] == len(shard) == 11
    assert about["n_points"] == shard["n_points"].sum()
    assert about["median_forward_backward_px"] < 0.5
    for record, pair in zip(shard, about["pairs"], strict=True):
        ends = []
        for side, name in enumerate(pair["pictures"]):
            x, y, length = pair["squares"][side]
            points = record["points"][: record["n_points"], side] * length / 256
            corner = np.array([x - length / 2, y - length / 2])
            ends.append(to_first(points + corner, int(name)))
        # Motion JPEG costs a little.
        assert np.median(np.linalg.norm(ends[0] - ends[1], axis=1)) < 0.3


def test_a_folder_is_read_by_its_numbers(tmp_path, folder):
    write_tracks(folder, BrightEmbedder(), options(tmp_path / "out", max_gap=1))
    about = read_description(tmp_path / "out")
    assert about["kind"] == "frames"
    expected = [[f"frame{k}.png", f"frame{k + 1}.png"] for k in range(8, 14)]
    assert [pair["pictures"] for pair in about["pairs"]] == expected


def test_every_other_frame(tmp_path, folder):
    write_tracks(folder, BrightEmbedder(), options(tmp_path / "out", max_gap=1, every=3))
    names = [pair["pictures"] for pair in read_description(tmp_path / "out")["pairs"]]
    assert names == [["frame8.png", "frame11.png"], ["frame11.png", "frame14.png"]]
    assert count_pictures(folder, 3) == 3


def test_the_same_input_gives_the_same_bytes(tmp_path, folder):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_tracks(folder, BrightEmbedder(), options(tmp_path / name, seed=seed, max_points=100))
    files = [shard_path(tmp_path / name, 0).read_bytes() for name in "abc"]
    assert files[0] == files[1]
    assert files[0] != files[2]
    texts = [(tmp_path / name / "tracks.json").read_bytes() for name in "ab"]
    assert texts[0] == texts[1]


def test_no_more_points_than_asked_for(tmp_path, folder):
    write_tracks(folder, BrightEmbedder(), options(tmp_path / "out", max_points=90, min_points=80))
    (shard,) = read_pairs(tmp_path / "out")
    assert (shard["n_points"] == 90).all()
    assert shard.dtype == PAIR


def test_motion_is_preferred(tmp_path):
    rng = np.random.default_rng(0)
    candidates = []
    for scale in (0.0, 1.0, 9.0):
        points = np.repeat(rng.uniform(20, 230, (100, 1, 2)), 2, axis=1)
        # A common shift is no motion of the head in itself.
        points[:, 1] += 15.0 + scale * rng.normal(size=(100, 2))
        candidates.append(MatchedPair(None, None, points, np.zeros(100)))
    wanted = options(tmp_path, pairs_per_picture=1)
    drawn = [choose_pairs(candidates, picture, wanted)[0] for picture in range(200)]
    counts = [sum(pair.points is c.points for pair in drawn) for c in candidates]
    assert counts[0] < 5 < counts[1] < counts[2]
    assert choose_pairs([], 0, wanted) == []


def test_a_failure_leaves_what_was_there(tmp_path, folder):
    out = tmp_path / "out"
    write_tracks(folder, BrightEmbedder(), options(out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match="no two pictures share 400 points"):
        write_tracks(folder, BrightEmbedder(), options(out, min_points=400, max_gap=3, spacing=20))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_was_there_is_replaced(tmp_path, folder):
    out = tmp_path / "out"
    out.mkdir()
    np.save(shard_path(out, 7), np.zeros(3))
    (out / "notes.txt").write_text("mine")
    write_tracks(folder, BrightEmbedder(), options(out))
    assert sorted(path.name for path in out.iterdir()) == [
        "notes.txt",
        "pairs_00000.npy",
        "tracks.json",
    ]


def test_no_head_anywhere(tmp_path):
    black = [np.zeros((SIZE, SIZE, 3), np.uint8)] * 3
    folder = write_frames(tmp_path / "black", black)
    with pytest.raises(ValueError, match="no head is seen in any of 3 pictures"):
        write_tracks(folder, BrightEmbedder(), options(tmp_path / "out"))


def test_one_frame_is_too_few(tmp_path, pictures):
    folder = write_frames(tmp_path / "one", pictures[:1])
    with pytest.raises(CaptureError, match="has 1 frame"):
        write_tracks(folder, BrightEmbedder(), options(tmp_path / "out"))


def test_sources_that_are_none(tmp_path, pictures):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    unnumbered = write_frames(tmp_path / "named", pictures[:1])
    (unnumbered / "frame8.png").rename(unnumbered / "cover.png")
    twice = write_frames(tmp_path / "twice", pictures[:2])
    (twice / "frame9.png").rename(twice / "other08.png")
    for name, reason in (
        ("absent.mp4", "no such file or folder"),
        ("text.mp4", "not a video"),
        ("picture.png", "is a picture, not a video"),
        ("empty", "holds neither pictures nor a COLMAP model"),
        ("named", "has no number in its name"),
        ("twice", "has the same number as frame8.png"),
    ):
        with pytest.raises(CaptureError, match=reason):
            count_pictures(tmp_path / name, 1)
        with pytest.raises(CaptureError, match=reason):
            write_tracks(tmp_path / name, BrightEmbedder(), options(tmp_path / "out"))


def test_frames_of_two_sizes_and_damaged_ones(tmp_path, pictures):
    sizes = write_frames(tmp_path / "sizes", [pictures[0], pictures[1][:200]])
    with pytest.raises(CaptureError, match=r"frame9.png is 240 x 200, those before 240 x 240"):
        write_tracks(sizes, BrightEmbedder(), options(tmp_path / "out"))
    damaged = write_frames(tmp_path / "damaged", pictures[:2])
    (damaged / "frame9.png").write_bytes(b"\x89PNG")
    with pytest.raises(CaptureError, match=r"frame9.png: not a readable picture"):
        write_tracks(damaged, BrightEmbedder(), options(tmp_path / "out"))


@pytest.mark.parametrize(
    "change",
    [
        {"min_points": 1},
        {"max_points": 401},
        {"min_points": 90, "max_points": 80},
        {"every": 0},
        {"max_gap": 0},
        {"spacing": 0},
        {"max_error": 0.0},
        {"max_step_error": float("nan")},
        {"min_texture": -1.0},
        {"seed": -1},
        {"rim": -1},
        {"pairs_per_picture": 0},
    ],
)
def test_options_are_checked(tmp_path, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TracksOptions(output=tmp_path, **change)


class TestReading:
    @pytest.fixture
    def out(self, tmp_path, folder):
        write_tracks(folder, BrightEmbedder(), options(tmp_path / "out", max_gap=1))
        return tmp_path / "out"

    def complain(self, out, change, reason):
        path = shard_path(out, 0)
        shard = np.load(path)
        np.save(path, change(shard))
        with pytest.raises(ValueError, match=reason):
            read_pairs(out)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(ValueError, match=r"tracks.json: not there"):
            read_pairs(tmp_path)

    def test_description(self, out):
        path = out / "tracks.json"
        content = json.loads(path.read_text())
        for text, reason in (
            ("{", "unreadable"),
            ("[]", "not of format"),
            (json.dumps({**content, "format": 9}), "not of format"),
            (json.dumps({**content, "shards": ["a"]}), "shards must be"),
            (json.dumps({**content, "shards": [5]}), "counts 5 pairs, it holds"),
            (json.dumps({**content, "shards": [6, 6]}), "pairs_00001.npy: not there"),
        ):
            path.write_text(text)
            with pytest.raises(ValueError, match=reason):
                read_pairs(out)

    def test_damaged_shard(self, out):
        path = shard_path(out, 0)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match="not a readable array"):
            read_pairs(out)
        np.save(path, np.zeros(6))
        with pytest.raises(ValueError, match="not of the type PAIR"):
            read_pairs(out)

    def test_points(self, out):
        def with_count(shard):
            shard["n_points"][2] = 0
            return shard

        def outside(shard):
            shard["n_points"][2] = 300
            shard["points"][2, :300] = 10.0
            shard["points"][2, 1, 0, 0] = 300.0
            return shard

        def too_many(shard):
            shard["points"][2] = 1.0
            return shard

        self.complain(out, with_count, "pair 2 has 0 points")
        self.complain(out, outside, "pair 2 has points outside its crops")
        self.complain(out, too_many, "pair 2 has more points than the 300 it counts")

    def test_the_map_is_read_only(self, out):
        (shard,) = read_pairs(out)
        with pytest.raises(ValueError, match="read-only"):
            shard["n_points"] = 3


def test_the_overlay_shows_pairs_with_coloured_points(tmp_path, folder):
    write_tracks(folder, BrightEmbedder(), options(tmp_path / "out"))
    shards = read_pairs(tmp_path / "out")
    picture = draw_overlay(shards, 3)
    assert picture.shape == (1024, 2048, 3)
    # The fourth tile is empty.
    assert not picture[512:, 1024:].any()
    record = shards[0][0]
    x, y = (record["points"][0, 0] * 2).astype(int)
    dot = picture[y, x].astype(int)
    assert dot.max() - dot.min() > 60
