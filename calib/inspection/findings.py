"""What hurts, in words: what, where and what to do, the worst first.

A check takes an inspection and yields findings; ``CHECKS`` lists them, ``CODES`` says how bad each
finding is, in the order in which they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from calib.calibration import some_names
from calib.capture import Capture, CaptureError
from calib.inspection.pictures import robust_scores
from calib.inspection.report import Finding, Inspection
from calib.masks import check_masks

# Stable names, the worst first.
CODES = {
    "picture-unreadable": "serious",
    "picture-turned": "serious",
    "picture-scaled": "serious",
    "picture-cropped": "serious",
    "masks-wrong": "serious",
    "poses-wrong": "serious",
    "names-swapped": "serious",
    "camera-of-another": "serious",
    "pose-wrong": "serious",
    "distortion": "serious",
    "half-pixel": "serious",
    "principal-point": "warning",
    "focal-length": "warning",
    "epipolar": "warning",
    "view-epipolar": "warning",
    "reprojection": "warning",
    "same-pose": "warning",
    "same-picture": "warning",
    "looks-away": "warning",
    "few-views": "warning",
    "narrow": "warning",
    "lonely": "warning",
    "blurred": "warning",
    "clipped": "warning",
    "exposure": "warning",
    "color": "warning",
    "noise": "warning",
    "coarse": "warning",
    "masks": "warning",
    "reader": "warning",
    "center-unknown": "note",
    "unmatched": "note",
    "few-matches": "note",
    "no-unit": "note",
    "other-camera-file": "note",
}
# Smallest effects worth a word, pixels of a picture with the diagonal of 768 x 768.
_SHIFT_PX, _SCALE_PX, _BEND_PX = 0.2, 0.5, 0.5
_EPIPOLAR_PX, _VIEW_PX, _VIEW_RATIO, _REPROJECTION_PX = 1.0, 0.5, 3.0, 2.0
_REFERENCE_DIAGONAL = 1086.0
_FEW_VIEWS = 6
_NARROW_DEG, _LONELY_DEG = 20.0, 45.0
# A picture stands out beyond both: robust standard deviations, and this ratio.
_SCORE = 4.0
_BLUR, _GAIN, _COLOR, _NOISE = np.log(0.7), np.log(1.25), np.log(1.08), 2.0
_CLIPPED_SHARE, _CLIPPED_UNMASKED = 0.03, 0.1


def find_findings(inspection: Inspection, capture: Capture) -> list[Finding]:
    """Everything that hurts, sorted by how much.

    Args:
        inspection: whose own findings are not looked at.
        capture: that was inspected, for its reader's warnings and its masks.
    """
    found = [finding for check in CHECKS for finding in check(inspection)]
    found += [_finding("reader", (), text, "") for text in capture.warnings]
    try:
        found += [_finding("masks", (), text, "") for text in check_masks(capture)]
    except CaptureError as error:
        found.append(_finding("masks-wrong", (), f"{error.path}: {error.reason}", error.remedy))
    order = list(CODES)
    return sorted(found, key=lambda finding: order.index(finding.code))


def check_pictures_fit(inspection: Inspection) -> Iterator[Finding]:
    """Pictures of another size than their camera's, by cause."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, (width, height), picture in zip(
        inspection.names, inspection.sizes, inspection.pictures, strict=True
    ):
        if picture.problem is None:
            continue
        if picture.size is None or picture.size == (width, height):
            key = ("picture-unreadable", f"{picture.problem}", "copy it again")
        else:
            key = _why_other_size(picture.size, (width, height))
        groups.setdefault(key, []).append(name)
    for (code, what, remedy), names in groups.items():
        yield _finding(code, names, f"{len(names)} picture(s) {what}: {some_names(names)}", remedy)


def check_poses(inspection: Inspection) -> Iterator[Finding]:
    """Poses that contradict the others: all, exchanged, or single ones."""
    misplaced, names = inspection.misplaced, inspection.names
    limit = f"limit {misplaced.limit_px:.1f} px"
    if misplaced.is_hopeless:
        n_matched = sum(error.n_pairs > 0 for error in inspection.view_errors)
        text = f"the poses do not fit the pictures: {len(misplaced.views)} of {n_matched} views"
        text += f" contradict the rest (median {inspection.pair_error_px:.1f} px, {limit})"
        if misplaced.whole is not None:
            text += f"; {misplaced.whole}: that fits to {misplaced.whole_error_px:.1f} px"
        remedy = "correct the camera file" if misplaced.whole else "calibrate again"
        yield _finding("poses-wrong", (), text, remedy)
        return
    for i, j in misplaced.swapped:
        text = f"{names[i]} and {names[j]} are exchanged: each fits with the other's camera"
        yield _finding("names-swapped", (names[i], names[j]), text, "swap the two pictures' names")
    for i, j in misplaced.belongs:
        text = f"{names[i]} fits the camera of {names[j]}, not its own"
        yield _finding("camera-of-another", (names[i],), text, "correct the names")
    explained = {k for pair in misplaced.swapped for k in pair}
    explained |= {i for i, _ in misplaced.belongs}
    for k in sorted({*misplaced.views} - explained):
        error = inspection.view_errors[k]
        off = np.nanmax([error.error_px, np.hypot(*error.shift_px)])
        text = f"the pose of {names[k]} is wrong: matches lie {off:.1f} px off ({limit})"
        yield _finding("pose-wrong", (names[k],), text, "calibrate it again or leave it out")


def check_lenses(inspection: Inspection) -> Iterator[Finding]:
    """What all pictures have in common against their cameras."""
    error = inspection.lens_error
    if error is None or inspection.misplaced.is_hopeless:
        return
    unit = _pixel(inspection)
    x, y = (-v for v in error.shift_px)
    if "shift" in error.causes and np.hypot(x, y) > _SHIFT_PX * unit:
        dx, dy = error.shift_error_px
        text = "all pictures ask for a principal point moved by"
        text += f" ({x:+.2f} +- {dx:.2f}, {y:+.2f} +- {dy:.2f}) px"
        if _is_half_pixel(error.shift_px, error.shift_error_px):
            change = "add" if x > 0 else "subtract"
            remedy = f"{change} 0.5: the centre of the first pixel is (0.5, 0.5) here"
            yield _finding("half-pixel", (), f"{text}: half a pixel", remedy)
        else:
            yield _finding("principal-point", (), text, "calibrate again with a free one")
    if "bend" in error.causes and abs(error.bend_px) > _BEND_PX * unit:
        text = f"the distortion is off by {-error.bend_px:+.1f} +- {error.bend_error_px:.1f} px"
        text += " at the picture's edge: dropped, of the wrong sign, or of another lens"
        yield _finding("distortion", (), text, "check the lens and whose pictures they are")
    if "scale" in error.causes and abs(error.scale_px) > _SCALE_PX * unit:
        text = f"the focal length is off by {100 * error.scale_share:+.2f} %"
        text += f" ({error.scale_px:+.1f} +- {error.scale_error_px:.1f} px at the picture's edge)"
        yield _finding("focal-length", (), text, "calibrate again with a free one")


def check_errors(inspection: Inspection) -> Iterator[Finding]:
    """Errors that are large without being blunders."""
    if inspection.misplaced.is_hopeless:
        return
    unit = _pixel(inspection)
    bad = {*inspection.misplaced.views}
    good = [p.error_px for p in inspection.pairs if not {*p.views} & bad]
    if good and np.median(good) > _EPIPOLAR_PX * unit:
        text = f"matches lie {np.median(good):.1f} px from their epipolar lines (median)"
        yield _finding("epipolar", (), text, "calibrate more carefully; detail will be lost")
    typical = np.nanmedian([e.error_px for e in inspection.view_errors]) if good else np.inf
    for k, error in enumerate(inspection.view_errors):
        if k not in bad and error.error_px > max(_VIEW_PX * unit, _VIEW_RATIO * typical):
            name = inspection.names[k]
            text = f"matches of {name} lie {error.error_px:.1f} px off, typical {typical:.1f}"
            yield _finding("view-epipolar", (name,), text, "calibrate it again")
    reprojection = inspection.reprojection_px
    worse = [
        k
        for k in range(len(reprojection))
        if k not in bad and reprojection[k] > _REPROJECTION_PX * unit
    ]
    if worse:
        names = [inspection.names[k] for k in worse]
        text = f"sparse points lie {reprojection[worse].max():.1f} px from where {len(worse)}"
        text += f" view(s) observed them: {some_names(names)}"
        yield _finding("reprojection", names, text, "points and cameras do not belong together")


def check_arrangement(inspection: Inspection) -> Iterator[Finding]:
    """Too few views, too near, too far apart, twice, or looking elsewhere."""
    if inspection.misplaced.is_hopeless:
        return
    around, names = inspection.arrangement, inspection.names
    for code, pairs, what, remedy in (
        ("same-pose", inspection.same_pose, "have one pose", "check the names, leave one out"),
        ("same-picture", inspection.same_picture, "are the same picture", "leave one out"),
    ):
        for i, j in pairs:
            yield _finding(code, (names[i], names[j]), f"{names[i]} and {names[j]} {what}", remedy)
    away = [name for name, seen in zip(names, around.is_center_seen, strict=True) if not seen]
    if away:
        text = f"{len(away)} view(s) do not see the middle of what the others look at:"
        yield _finding("looks-away", away, f"{text} {some_names(away)}", "leave them out")
    if len(names) < _FEW_VIEWS:
        text = f"only {len(names)} views"
        yield _finding("few-views", (), text, "eight to forty cover a head")
    off = around.angles_deg + np.where(np.eye(len(names)), np.inf, 0)
    if np.max(around.angles_deg) < _NARROW_DEG:
        text = f"all views lie within {np.max(around.angles_deg):.0f} degrees"
        yield _finding("narrow", (), text, "take some from the sides: depth will be noisy")
    lonely = np.flatnonzero(off.min(axis=1) > _LONELY_DEG)
    for k in lonely:
        text = f"{names[k]} is {off[k].min():.0f} degrees from the nearest other view"
        yield _finding(
            "lonely", (names[k],), text, "add views between them, 10 to 40 degrees apart"
        )
    if around.center_from == "guess":
        text = "the views' axes are parallel and there are no sparse points: nobody knows how far"
        yield _finding("center-unknown", (), f"{text} away the head is", "angles here are a guess")


def check_matches(inspection: Inspection) -> Iterator[Finding]:
    """Views, or a capture, of which the matches tell nothing."""
    lonely = [inspection.names[k] for k in inspection.misplaced.unmatched]
    if lonely and inspection.pairs:
        text = f"nothing in {some_names(lonely)} matches any other view"
        yield _finding("unmatched", lonely, text, "its pose was not checked")
    few = inspection.lens_error is None
    if few:
        text = f"{len(inspection.pairs)} pairs of views have verified matches, too few points are"
        text += " seen by three"
        yield _finding("few-matches", (), text, "lenses were not checked")


def check_photos(inspection: Inspection) -> Iterator[Finding]:
    """Pictures that stand out: blurred, over- or underexposed, of another colour, noisy."""
    relative, names = inspection.relative_levels, inspection.names
    sharpness, scores = relative[:, 3], robust_scores(relative[:, 3], 0.08)
    for k in np.flatnonzero((scores < -_SCORE) & (sharpness < _BLUR)):
        text = f"{names[k]} is blurred: {np.exp(sharpness[k]):.2f} of the others' fine detail"
        yield _finding("blurred", (names[k],), text, "leave it out or take it again")
    gains = relative[:, :3].mean(axis=1)
    scores = robust_scores(gains, 0.03)
    for k in np.flatnonzero((np.abs(scores) > _SCORE) & (np.abs(gains) > _GAIN)):
        text = f"{names[k]} is exposed {gains[k] / np.log(2):+.1f} stops against the others"
        yield _finding("exposure", (names[k],), text, "take all with one exposure")
    tints = np.abs(relative[:, :3] - gains[:, None]).max(axis=1)
    scores = robust_scores(tints, 0.01)
    for k in np.flatnonzero((scores > _SCORE) & (tints > _COLOR)):
        text = f"{names[k]} has another colour than the others, by {100 * np.expm1(tints[k]):.0f} %"
        yield _finding("color", (names[k],), text, "take all with one white balance")
    levels = [picture.levels for picture in inspection.pictures]
    noise = np.array([np.nan if v is None else v.noise for v in levels])
    if np.isnan(noise).all():
        return
    scores = robust_scores(np.log(noise + 0.2), 0.1)
    for k in np.flatnonzero((scores > _SCORE) & (noise > _NOISE * np.nanmedian(noise))):
        text = (
            f"{names[k]} is noisy: {noise[k]:.1f} grey levels, the others {np.nanmedian(noise):.1f}"
        )
        yield _finding("noise", (names[k],), text, "take it with more light")


def check_clipping(inspection: Inspection) -> Iterator[Finding]:
    """Pictures of which a good part is white or black; what is beside the head may well be."""
    shares: dict[str, dict[str, float]] = {"white": {}, "black": {}}
    for name, picture in zip(inspection.names, inspection.pictures, strict=True):
        if picture.levels is None:
            continue
        is_masked = picture.mask_share is not None
        if picture.levels.bright_share > (_CLIPPED_SHARE if is_masked else _CLIPPED_UNMASKED):
            shares["white"][name] = picture.levels.bright_share
        if picture.levels.dark_share > _CLIPPED_SHARE and is_masked:
            shares["black"][name] = picture.levels.dark_share
    for what, found in shares.items():
        if found:
            text = f"up to {100 * max(found.values()):.0f} % is clipped to {what} in"
            text += f" {len(found)} picture(s): {some_names([*found])}"
            yield _finding("clipped", found, text, "expose differently: nothing is there to match")


def check_resolution(inspection: Inspection) -> Iterator[Finding]:
    """Views that see the head with far fewer pixels than the others."""
    if inspection.misplaced.is_hopeless:
        return
    density = inspection.arrangement.pixels_per_unit
    coarse = [
        name
        for name, value in zip(inspection.names, density, strict=True)
        if value < 0.5 * np.median(density)
    ]
    if coarse:
        text = f"{len(coarse)} view(s) see the head with less than half the pixels of the others:"
        yield _finding("coarse", coarse, f"{text} {some_names(coarse)}", "they add little detail")


def check_files(inspection: Inspection) -> Iterator[Finding]:
    """The camera file, its rivals and the unit."""
    for name, path in inspection.other_sources.items():
        shown = path.relative_to(inspection.path) if inspection.path in path.parents else path
        text = f"{shown.as_posix()} of the format {name} lies there, too; {inspection.format} was"
        text += " read"
        yield _finding("other-camera-file", (), text, f"--format {name} reads it")
    if inspection.unit is None:
        text = "nobody says which unit the world has"
        remedy = 'put {"unit": "m"} into capture.json if you know, or find it by mvs calib scale'
        yield _finding("no-unit", (), text, remedy)


CHECKS: tuple[Callable[[Inspection], Iterator[Finding]], ...] = (
    check_pictures_fit,
    check_poses,
    check_lenses,
    check_errors,
    check_arrangement,
    check_matches,
    check_photos,
    check_clipping,
    check_resolution,
    check_files,
)


def _finding(code: str, views: Iterable[str], text: str, remedy: str) -> Finding:
    return Finding(code, CODES[code], tuple(views), text, remedy)


def _pixel(inspection: Inspection) -> float:
    """A pixel of a picture of 768 x 768, in pixels of these."""
    return float(np.median([np.hypot(*size) for size in inspection.sizes])) / _REFERENCE_DIAGONAL


def _is_half_pixel(shift: tuple[float, float], errors: tuple[float, float]) -> bool:
    """Half a pixel both ways, along x and y alike."""
    offs = [abs(abs(s) - 0.5) <= max(0.15, 2 * e) for s, e in zip(shift, errors, strict=True)]
    return all(offs) and shift[0] * shift[1] > 0


def _why_other_size(found: tuple[int, int], asked: tuple[int, int]) -> tuple[str, str, str]:
    """Code, what and remedy of a picture of another size than its camera's."""
    (w, h), (width, height) = found, asked
    what = f"are {w} x {h}, the camera {width} x {height}"
    if (w, h) == (height, width):
        text = f"{what}: turned, by an EXIF orientation that was applied or was not"
        return "picture-turned", text, "use the pictures as they were calibrated, unrotated"
    scale = w / width
    if abs(h - scale * height) <= 1:
        text = f"{what}: scaled by {scale:.4g}"
        return "picture-scaled", text, "use pictures of full size, or scale the cameras"
    return "picture-cropped", f"{what}: cropped or padded", "use the pictures as calibrated"
