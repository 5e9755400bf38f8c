"""The report in headless Chromium, where one is installed: its preview draws what it says."""

import io
import shutil

import numpy as np
import pytest

from mvs.viewer.report import write_report
from tests.viewer.ball_run import make_capture, make_run

pytest.importorskip("playwright")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium")
# WebGL without a graphics card.
SOFTWARE = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
# Patience only, in milliseconds.
WAIT = 120_000
SIZE = {"width": 1000, "height": 800}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ball")
    capture = make_capture(folder / "capture")
    return write_report(capture, make_run(folder / "run", capture))


def open_page(browser, report, **how):
    """The page once it has drawn or given up, and all that it complained of or asked for."""
    page = browser.new_page(viewport=SIZE, **how)
    page.set_default_timeout(WAIT)
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: said.append(request.url[:80]))
    page.goto(report.as_uri())
    page.wait_for_function("document.documentElement.dataset.preview !== undefined")
    said.remove(report.as_uri())
    return page, [line for line in said if not line.startswith("data:")]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        yield player.chromium


@pytest.fixture(scope="module")
def browser(chromium):
    browser = chromium.launch(
        executable_path=BROWSER, args=["--no-sandbox", *SOFTWARE], timeout=WAIT
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def opened(browser, report):
    return open_page(browser, report)


def shot(page):
    """What the canvas shows, (H, W, 3) int."""
    from PIL import Image

    # Two frames: one asks for the drawing, one draws.
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    data = page.locator("canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def middle(page):
    picture = shot(page)
    return picture[picture.shape[0] // 2, picture.shape[1] // 2]


def test_it_draws_without_a_word(opened):
    page, said = opened
    assert said == []
    assert page.evaluate("document.documentElement.dataset.preview") == "drawn"
    assert page.locator("#preview").is_visible()
    assert page.locator("#no-preview").is_hidden()
    # A ball of radius 1 at 4.6, seen at 0.5 rad, on a canvas wider than high.
    box = page.locator("canvas").bounding_box()
    radius = np.tan(np.arcsin(1 / 4.6)) / np.tan(0.25) / 2 * box["height"]
    share = float(page.evaluate("document.documentElement.dataset.share"))
    assert share == pytest.approx(np.pi * radius**2 / box["width"] / box["height"], rel=0.03)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZE["width"]


def test_the_sides_face_the_viewer(opened):
    """Normals as colours: the middle of each side looks at the viewer."""
    page, _ = opened
    page.select_option("#mode", "normal")
    for side, rgb in {
        "Front": (127, 127, 254),
        "Left": (254, 127, 127),
        "Back": (127, 127, 0),
        "Right": (0, 127, 127),
    }.items():
        page.get_by_role("button", name=side, exact=True).click()
        np.testing.assert_allclose(middle(page), rgb, atol=6, err_msg=side)


def test_colours_are_those_of_the_ball(opened):
    """Grey 77 all over; cube coordinates 0.5, 0.5, 0.8 in front; every point agreed on by 3."""
    page, _ = opened
    page.get_by_role("button", name="Front", exact=True).click()
    page.select_option("#mode", "photo")
    np.testing.assert_allclose(middle(page), 77, atol=4)
    page.select_option("#mode", "cube")
    # Lit a little from the side.
    assert np.ptp(middle(page)[:2]) <= 2
    assert middle(page)[2] / middle(page)[0] == pytest.approx(0.8 / 0.5, rel=0.03)
    page.select_option("#mode", "agree")
    r, g, b = middle(page)
    # The fourth colour of eight is #277f8e.
    assert g / r == pytest.approx(0x7F / 0x27, rel=0.1)
    assert b / g == pytest.approx(0x8E / 0x7F, rel=0.05)
    assert page.locator("#legend").inner_text().split() == [*"0123456", "7", "views", "and", "more"]


def test_keys_and_the_mouse_turn_it(opened):
    page, _ = opened
    page.select_option("#mode", "normal")
    page.get_by_role("button", name="Front", exact=True).click()
    page.locator("canvas").focus()
    # Ten times a tenth of a radian: what was in the middle goes to the left, with the arrow.
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expected = 127.5 + 127 * np.array([np.sin(1.0), 0, np.cos(1.0)])
    np.testing.assert_allclose(middle(page), expected, atol=6)
    page.keyboard.press("0")
    home = shot(page)
    page.keyboard.press("+")
    assert (np.ptp(shot(page), axis=2) > 5).sum() > 1.15 * (np.ptp(home, axis=2) > 5).sum()
    page.keyboard.press("Home")
    np.testing.assert_array_equal(shot(page), home)
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.get_by_role("button", name="Front", exact=True).click()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 100, y)
    page.mouse.up()
    expected = 127.5 + 127 * np.array([np.sin(0.8), 0, np.cos(0.8)])
    np.testing.assert_allclose(middle(page), expected, atol=6)


def test_cameras_can_be_seen_and_looked_from(opened):
    """The ball's coordinates are its own axes, so its frame is the world's."""
    page, said = opened
    page.select_option("#mode", "normal")
    page.get_by_text("Look from here").nth(0).click()
    # See tests.ball.make_views.
    towards = np.array([1.0, 0.0, 0.5]) / np.hypot(1.0, 0.5)
    np.testing.assert_allclose(middle(page), 127.5 + 127 * towards, atol=6)
    without = shot(page)
    page.check("#show-cameras")
    # Blue lines, all of them in the picture; the one that is looked from is orange.
    r, g, b = np.moveaxis(shot(page), 2, 0)
    row, column = np.nonzero((abs(r - 70) < 25) & (abs(g - 140) < 25) & (abs(b - 175) < 25))
    height, width = r.shape
    assert len(row) > 100
    assert 0 < row.min() <= row.max() < height - 1
    assert 0 < column.min() <= column.max() < width - 1
    assert ((abs(r - 235) < 25) & (abs(g - 110) < 25) & (abs(b - 40) < 25)).sum() > 20
    page.uncheck("#show-cameras")
    np.testing.assert_array_equal(shot(page), without)
    assert said == []


def test_phones_and_dark_rooms(browser, report):
    page = browser.new_page(
        viewport={"width": 380, "height": 700}, color_scheme="dark", has_touch=True
    )
    page.goto(report.as_uri())
    page.wait_for_function("document.documentElement.dataset.preview !== undefined")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(v) for v in paper.strip("rgb()").split(",")) < 60
    page.close()


def test_without_webgl_there_are_still_pictures(chromium, report):
    blind = chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-3d-apis"])
    page, _ = open_page(blind, report)
    assert page.evaluate("document.documentElement.dataset.preview") == "pictures: no WebGL"
    assert page.locator("#preview").is_hidden()
    assert page.locator("#no-preview").is_visible()
    assert page.get_by_text("Look from here").first.is_hidden()
    loaded = "[...document.images].every(i => i.complete && i.naturalWidth > 50)"
    assert page.evaluate(loaded)
    blind.close()
