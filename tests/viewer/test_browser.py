"""The viewer in a browser without a screen: what it shows, and what clicks do."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.viewer.results import write_run_of_ball

pytest.importorskip("viser")
playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
FLAGS += ["--enable-unsafe-swiftshader"]
# Patience only: nothing is measured in seconds.
WAIT = 120_000
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(autouse=True)
def heeds_interrupts():
    """What a shell starts in the background ignores them, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def viewing(*arguments):
    """A viewer in a process of its own, its address, and what it does when interrupted."""
    command = [sys.executable, "-m", "mvs", "view", *map(str, arguments), "--no-open"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as process:
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://localhost:"), process.stderr.read()
            yield address
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT / 1000) == 0
            assert (process.stdout.read(), process.stderr.read()) == ("", "")
        finally:
            process.kill()


def picture_of(page):
    """The canvas between the panels, without what floats over it: (H, W, 3)."""
    data = page.screenshot(timeout=WAIT, clip={"x": 330, "y": 190, "width": 240, "height": 300})
    return np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)


def n_colors(picture):
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def settled(page, is_ready):
    """The canvas once something holds of it, and it no longer fades in."""
    last = picture_of(page)
    for _ in range(240):
        page.wait_for_timeout(500)
        now = picture_of(page)
        if is_ready(now) and np.abs(now - last).max() < 8:
            return now
        last = now
    raise AssertionError("the scene never came to what was expected")


def choose(page, label, option):
    page.get_by_label(label, exact=True).first.click(timeout=WAIT)
    page.get_by_role("option", name=option, exact=True).click(timeout=WAIT)


@pytest.mark.slow
def test_a_run_is_shown_coloured_and_clicked(tmp_path):
    run = write_run_of_ball(tmp_path)
    with viewing(run, "--port", 0) as address, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT)
        page = browser.new_page(viewport={"width": 900, "height": 520})
        page.set_default_timeout(WAIT)
        page.goto(address)
        plain = settled(page, lambda picture: n_colors(picture) > 200)
        assert page.locator("img.mvs-crop").count() == 0
        choose(page, "Colour", "uvw")
        colored = settled(page, lambda picture: np.abs(picture - plain).mean() > 8)
        # Coordinates colour the ball smoothly in all channels; the white around it stays.
        assert n_colors(colored) > 1000
        assert (np.ptp(colored.reshape(-1, 3), axis=0) > 60).all()
        page.mouse.click(450, 300)
        page.locator("img.mvs-crop").first.wait_for(timeout=WAIT)
        assert 1 <= page.locator("img.mvs-crop").count() <= 4
        text = page.locator("table.mvs-point").inner_text()
        assert all(word in text for word in ("position", "cube u v w", "confidence", "part"))
        browser.close()


@pytest.mark.slow
def test_it_ends_when_interrupted_and_takes_a_free_port(tmp_path):
    run = write_run_of_ball(tmp_path)
    with viewing(run, "--port", 0) as first:
        port = first.rpartition(":")[2]
        command = [sys.executable, "-m", "mvs", "view", str(run), "--no-open", "--port", port]
        with subprocess.Popen(command, cwd=ROOT, text=True, stdout=-1, stderr=-1) as second:
            try:
                address = second.stdout.readline().strip()
                second.send_signal(signal.SIGINT)
                _, complaints = second.communicate(timeout=WAIT / 1000)
            finally:
                second.kill()
    assert int(address.rpartition(":")[2]) > int(port)
    assert complaints == f"warning: port {port} is in use, took {address.rpartition(':')[2]}\n"
