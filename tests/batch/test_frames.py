"""Which frames a pattern, a folder or a list names, and which camera is which."""

import numpy as np
import pytest

from calib.calibration import CalibratedImage
from mvs.batch.frames import (
    Frame,
    Pattern,
    find_by_folder,
    find_by_pattern,
    find_in_list,
    in_chains,
    is_selected,
    select,
)
from mvs.batch.rig import Rig


def rig(*names):
    pose = np.eye(3, 4)
    params = np.array([100.0, 100.0, 32.0, 32.0])
    images = [CalibratedImage(name, "PINHOLE", params, pose, (64, 64)) for name in names]
    return Rig("rig", "colmap", tuple(images))


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, [0, 1, 2, 5, 9]),
        ("2:7:2", [2, 4, 6]),
        ("3", [3]),
        ("3,5,8:10", [3, 5, 8, 9]),
        ("7:", [7, 8, 9]),
        (":3", [0, 1, 2]),
        ("::4", [0, 4, 8]),
    ],
)
def test_ranges_leave_their_end_out(wanted, expected):
    chosen = select([0, 1, 2, 5, 9], wanted)
    assert chosen == expected
    assert all(is_selected(number, wanted) for number in chosen)
    if wanted is not None:
        assert [n for n in range(10) if is_selected(n, wanted)] == chosen


@pytest.mark.parametrize("wanted", ["a", "1:2:0", "-1", "", "5:5"])
def test_what_names_no_frames_is_refused(wanted):
    with pytest.raises(ValueError, match="--frames"):
        select([0, 1], wanted)


@pytest.mark.parametrize(
    ("numbers", "length", "after"),
    [
        ([0, 1, 2, 3], 1, [None, None, None, None]),
        ([0, 1, 2, 3, 4], 2, [None, 0, None, 2, None]),
        # Chains begin at multiples and with the first that is asked for; gaps are bridged.
        ([3, 4, 6, 7, 8, 20], 4, [None, None, 4, 6, None, None]),
    ],
)
def test_frames_follow_each_other_in_chains(numbers, length, after):
    found = in_chains([Frame(number) for number in numbers], length)
    assert [frame.number for frame in found] == numbers
    names = [None if number is None else f"{number:06d}" for number in after]
    assert [frame.after for frame in found] == names


def test_a_chain_has_a_frame():
    with pytest.raises(ValueError, match="--chain must be at least 1"):
        in_chains([Frame(0)], 0)


@pytest.mark.parametrize("start", ["", "./", "inside/../", "x/..//./"])
def test_a_pattern_counts_from_the_working_directory_of_now(tmp_path, monkeypatch, start):
    folder = tmp_path / "{braces}"
    touch(folder, "s/a/1.jpg", "x/nothing")
    touch(folder, "inside/nothing")
    monkeypatch.chdir(folder)
    pattern = Pattern(f"{start}s/{{camera}}/{{frame}}.jpg")
    monkeypatch.chdir(tmp_path)
    ((key, path),) = pattern.find().items()
    assert key == ("a", 1)
    assert path.is_absolute()
    assert path.samefile(folder / "s/a/1.jpg")
    assert pattern.path("a", 1) == path


def test_a_list_without_the_wanted_captures_is_refused(tmp_path):
    touch(tmp_path, "first/x", "second/x")
    (tmp_path / "list.txt").write_text("first\nsecond\n")
    assert [f.number for f in find_in_list(tmp_path / "list.txt", "1:9").frames] == [1]
    with pytest.raises(ValueError, match=r"--frames 2:9: .*list.txt names 2 captures, from 0"):
        find_in_list(tmp_path / "list.txt", "2:9")


def test_a_pattern_finds_cameras_and_frames(tmp_path):
    touch(tmp_path, "s/a/000001.jpg", "s/a/000002.jpg", "s/b/000001.jpg", "s/b/x.jpg", "s/c.jpg")
    touch(tmp_path, "s/a/01.jpg")  # not six digits
    found = find_by_pattern(
        rig("a.png", "b.png"), Pattern(f"{tmp_path}/s/{{camera}}/{{frame:06d}}.jpg")
    )
    assert [(frame.name, sorted(frame.pictures)) for frame in found.frames] == [
        ("000001", ["a.png", "b.png"]),
        ("000002", ["a.png"]),
    ]
    assert found.frames[1].pictures["a.png"] == tmp_path / "s/a/000002.jpg"
    assert found.warnings == ()


def test_frames_asked_for_that_are_not_there_are_frames_without_pictures(tmp_path):
    touch(tmp_path, *(f"{camera}_{k}.png" for camera in "ab" for k in (3, 5)))
    pattern = Pattern(f"{tmp_path}/{{camera}}_{{frame}}.png")
    found = find_by_pattern(rig("a", "b"), pattern, wanted="3:6")
    assert [(f.number, len(f.pictures)) for f in found.frames] == [(3, 2), (4, 0), (5, 2)]


def test_a_camera_is_named_like_its_image_or_its_folder(tmp_path):
    touch(tmp_path, "one/7.png", "two/7.png", "three/7.png", "four/7.png")
    cameras = rig("one.jpg", "rig/two/0000.jpg", "rig/three/0000.jpg", "unseen.jpg")
    found = find_by_pattern(cameras, Pattern(f"{tmp_path}/{{camera}}/{{frame}}.png"))
    (frame,) = found.frames
    assert {image: path.parent.name for image, path in frame.pictures.items()} == {
        "one.jpg": "one",
        "rig/two/0000.jpg": "two",
        "rig/three/0000.jpg": "three",
    }
    assert found.warnings == (
        "1 cameras are not in the calibration and left out: four",
        "1 cameras have no pictures: unseen.jpg",
    )


def test_cameras_of_other_names_are_told_with_the_calibrations(tmp_path):
    touch(tmp_path, "left/1.png", "right/1.png")
    with pytest.raises(ValueError, match=r"0 of its cameras \(left, right\).*knows 00.png, 01.png"):
        find_by_pattern(rig("00.png", "01.png"), Pattern(f"{tmp_path}/{{camera}}/{{frame}}.png"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x/{camera}/1.png", "needs {camera} and {frame:06d}"),
        ("x/{camera}/{frame}/{view}.png", "not a pattern"),
        ("x/{camera}/{frame:q}.png", "not a pattern"),
        ("x/{camera", "not a pattern"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(text, says):
    with pytest.raises(ValueError, match=says):
        Pattern(text)


def test_two_files_of_one_frame_are_refused(tmp_path):
    touch(tmp_path, "a/1.png", "a/01.png", "b/1.png")
    with pytest.raises(ValueError, match="the same camera and frame"):
        find_by_pattern(rig("a", "b"), Pattern(f"{tmp_path}/{{camera}}/{{frame}}.png"))


def test_masks_are_found_and_missing_ones_named(tmp_path):
    touch(tmp_path, *(f"{kind}/{c}/{k}.png" for kind in ("s", "m") for c in "ab" for k in (1, 2)))
    (tmp_path / "m/b/2.png").unlink()
    images, masks = (Pattern(f"{tmp_path}/{kind}/{{camera}}/{{frame}}.png") for kind in "sm")
    found = find_by_pattern(rig("a", "b"), images, masks)
    assert [sorted(frame.masks) for frame in found.frames] == [["a", "b"], ["a"]]
    assert found.warnings == ("1 frames lack masks: 000002",)
    with pytest.raises(ValueError, match="leave --masks out"):
        find_by_pattern(rig("a", "b"), images, Pattern(f"{tmp_path}/no/{{camera}}/{{frame}}.png"))


def test_folders_of_frames(tmp_path):
    touch(tmp_path, "frame_0002/images/a.jpg", "frame_0002/images/b.jpg", "frame_0002/masks/a.png")
    touch(tmp_path, "frame_0010/a.jpg", "notes/a.jpg")
    frames = find_by_folder(rig("a.jpg", "b.jpg"), tmp_path).frames
    assert [(f.name, sorted(f.pictures), sorted(f.masks)) for f in frames] == [
        ("000002", ["a.jpg", "b.jpg"], ["a.jpg"]),
        ("000010", ["a.jpg"], []),
    ]
    with pytest.raises(ValueError, match=r"pictures of the calibration's names: x.jpg, y.jpg"):
        find_by_folder(rig("x.jpg", "y.jpg"), tmp_path)
    with pytest.raises(ValueError, match="numbered folders"):
        find_by_folder(rig("a", "b"), tmp_path / "notes")


def test_a_list_of_captures_counts_from_its_own_folder(tmp_path):
    (tmp_path / "list.txt").write_text("# comment\none\n\n/two\n")
    frames = find_in_list(tmp_path / "list.txt").frames
    assert [str(frame.capture) for frame in frames] == [str(tmp_path / "one"), "/two"]
    assert len(find_in_list(tmp_path / "list.txt", "1:").frames) == 1
