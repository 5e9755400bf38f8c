"""A view of 8K through each lens: header, decoding, undistortion; time on one core and memory."""

import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from calib.camera import Camera
from calib.capture import View, picture_size
from calib.lens import undistortion_map
from tests.calib.lenses import PARAMS

WIDTH, HEIGHT = 7680, 4320
MODELS = ("PINHOLE", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE")


def view_of(folder, model):
    params = np.array(PARAMS[model], float)
    params[:4] *= 64
    camera = Camera(model, WIDTH, HEIGHT, params, np.eye(3, 4))
    return View("a.png", folder / "a.png", folder / "m.png", camera, np.zeros(0, np.int64))


def write_pictures(folder):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
    cv2.imwrite(str(folder / "a.png"), cv2.resize(noise, (WIDTH, HEIGHT)))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (WIDTH // 2, HEIGHT // 2), 1800, 255, -1, cv2.LINE_AA)
    cv2.imwrite(str(folder / "m.png"), mask)


def seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def main():
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        print(
            f"size of {WIDTH} x {HEIGHT}: {seconds(lambda: picture_size(folder / 'a.png')):.4f} s"
        )
        for model in MODELS:
            view = view_of(folder, model)
            mapped = seconds(lambda v=view: undistortion_map(v.camera))
            masked, loaded = seconds(view.load_mask), seconds(view.load_pinhole)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"  {model:<28} map {mapped:5.1f} s, mask {masked:5.2f} s, "
                f"load_pinhole {loaded:5.1f} s, peak so far {peak:5.0f} MB"
            )


if __name__ == "__main__":
    main()
