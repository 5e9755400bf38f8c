"""Videos whose frames carry their number: the right ones come out."""

import cv2
import numpy as np
import pytest

from calib.capture import CaptureError
from mvs.batch.frames import Pattern
from mvs.batch.videos import decode_videos

N_FRAMES = 40


def write_video(path, turned):
    """Frame k shows the bits of k as bars; compressed with frames in between key frames."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (96, 64))
    assert video.isOpened()
    for number in range(N_FRAMES):
        bits = (number >> np.arange(6)) & 1
        bars = np.repeat(np.where(bits ^ turned, 230, 20).astype(np.uint8), 16)
        video.write(np.broadcast_to(bars[None, :, None], (64, 96, 3)).copy())
    video.release()


def number_of(path, turned):
    bars = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).reshape(64, 6, 16).mean(axis=(0, 2))
    return int((((bars > 128) ^ turned) << np.arange(6)).sum())


def test_frames_are_counted_from_the_first(tmp_path):
    for turned, camera in enumerate("ab"):
        write_video(tmp_path / f"{camera}.mp4", turned)
    videos = Pattern(f"{tmp_path}/{{camera}}.mp4", ("camera",))
    seen = []
    images = decode_videos(videos, tmp_path / "out", "3:40:7,1", 2, lambda *step: seen.append(step))
    assert seen == [("decode", 1, 2), ("decode", 2, 2)]
    files = images.find()
    wanted = [1, 3, 10, 17, 24, 31, 38]
    assert sorted(files) == [(camera, number) for camera in "ab" for number in wanted]
    for (camera, number), path in files.items():
        assert number_of(path, "ab".index(camera)) == number
    before = files["a", 10].stat().st_mtime_ns
    decode_videos(videos, tmp_path / "out", "3:40:7,1")
    assert files["a", 10].stat().st_mtime_ns == before
    assert len(decode_videos(videos, tmp_path / "out").find()) == 2 * N_FRAMES


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(CaptureError, match="not a video"):
        decode_videos(Pattern(f"{tmp_path}/{{camera}}.mp4", ("camera",)), tmp_path / "out")
    with pytest.raises(ValueError, match="no such files"):
        decode_videos(Pattern(f"{tmp_path}/{{camera}}.avi", ("camera",)), tmp_path / "out")
