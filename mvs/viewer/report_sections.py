"""The sections of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvs.stages.notes import histogram as count_values
from mvs.viewer import report_parts as html
from mvs.viewer.report_advice import STATUSES, Finding
from mvs.viewer.report_command import command_of
from mvs.viewer.report_coverage import draw_on_atlas
from mvs.viewer.report_material import Material
from mvs.viewer.report_mesh import pack_cameras, pack_surface
from mvs.viewer.report_pictures import (
    STEPS,
    color_shares,
    color_steps,
    data_uri,
    draw_sides,
)

_STILL, _ATLAS = 360, 320
# What the counts of a run are counts of.
_COUNTS = {
    "views": "views",
    "views_with_head": "views in which the head was found",
    "pairs": "pairs of views matched",
    "matches": "matches",
    "points": "points, of all views",
    "ok": "pixels that became points",
    "too_few_views": "pixels on which too few views agree",
    "degenerate": "pixels without a solution",
    "behind_camera": "pixels whose point lies behind a camera",
    "large_error": "pixels whose views contradict each other",
    "small_angle": "pixels whose rays are nearly parallel",
    "far_from_head": "pixels whose point lies far from the head",
    "cloud_points": "points of the coarse cloud",
    "refined_points": "points of the refined cloud",
    "vertices": "vertices of the mesh",
    "faces": "faces of the mesh",
}
_MODES = (
    ("photo", "Photo colours"),
    ("shape", "Shape"),
    ("normal", "Normals"),
    ("confidence", "Confidence"),
    ("agree", "Views that agree"),
    ("seen", "Views that see it"),
    ("cube", "Cube coordinate"),
)


def make_verdict(material: Material, findings: Sequence[Finding]) -> str:
    """The headline: in words, and the figures that matter most."""
    problems = sum(not finding.is_note for finding in findings)
    verdict, kind = "Looks sound", "good"
    if problems:
        verdict = "1 thing to look at" if problems == 1 else f"{problems} things to look at"
        kind = "look"
    name = material.capture.path.resolve().name or str(material.capture.path)
    return (
        f'<header><p class="tool">headmvs report</p><h1>{html.text(name)}</h1>'
        f'<p class="verdict {kind}">{verdict}</p>'
        f'<p class="summary">{html.text(_summary(material))}</p></header>'
    )


def _summary(material: Material) -> str:
    record = material.run.record
    counts = record["counts"]
    parts = [f"{len(material.views)} views"]
    points = counts.get("refined_points") or counts.get("cloud_points") or counts.get("points")
    if points:
        spacing = material.spacing_mm
        parts.append(f"{points:,} points" + (f", {spacing:.2f} mm apart" if spacing else ""))
    if counts.get("faces"):
        parts.append(f"a mesh of {counts['faces']:,} faces")
    if material.coverage is not None:
        face = material.coverage.parts[0]
        parts.append(f"{face.by_two:.0%} of the face seen by two views or more")
    return f"{', '.join(parts)}; {_time_taken(material)}."


def _time_taken(material: Material) -> str:
    seconds, cached = material.run.record["seconds"], material.run.cached
    if seconds and all(cached.get(stage) == "all" for stage in seconds):
        return "all of it from an earlier run"
    return _duration(sum(seconds.values()))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} seconds"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def findings_section(findings: Sequence[Finding]) -> str:
    """What to look at, and what to do about it."""
    if not findings:
        return html.section("look", "What to look at", "<p>Nothing: there are no warnings.</p>")
    items = []
    for finding in findings:
        kind = "note" if finding.is_note else "problem"
        said = html.text(finding.text[:1].upper() + finding.text[1:])
        word = "Note" if finding.is_note else "Look"
        items.append(
            f'<li class="{kind}"><b class="tag">{word}</b><div><p>{said}</p>'
            f'<p class="advice">{html.text(finding.advice)}</p></div></li>'
        )
    return html.section("look", "What to look at", f'<ul class="findings">{"".join(items)}</ul>')


def preview_section(material: Material) -> str:
    """The surface to turn around, and from four sides for where that cannot be."""
    if material.surface is None or material.frame is None or material.seen is None:
        return ""
    packed = pack_surface(material.surface, material.frame, material.seen)
    packed["steps"] = STEPS
    cameras = pack_cameras(
        [view.name for view in material.views],
        [view.camera for view in material.views],
        material.frame,
    )
    known = material.frame.is_known
    modes = "".join(
        f'<option value="{mode}">{name}</option>'
        for mode, name in _MODES
        if known or mode != "cube"
    )
    box = (
        '<div id="preview" hidden><div class="tools">'
        f'<label>Colour <select id="mode">{modes}</select></label>'
        '<label><input type="checkbox" id="show-cameras"> Cameras</label>'
        '<span class="sides"><button type="button" data-yaw="0">Front</button>'
        '<button type="button" data-yaw="90">Left</button>'
        '<button type="button" data-yaw="180">Back</button>'
        '<button type="button" data-yaw="-90">Right</button></span></div>'
        '<canvas tabindex="0" role="application" aria-label="The surface in 3-D. Arrow keys turn '
        'it, plus and minus zoom, shift and arrows move it, 0 starts again."></canvas>'
        '<div id="legend" aria-live="polite"></div>'
        '<p class="hint">Drag to turn, two fingers or the wheel (after a click) to zoom, right '
        "button or shift to move. Keys: arrows, + and -, 0. Simplified for this page.</p></div>"
        '<p id="no-preview">The picture that can be turned needs WebGL; below is the surface from '
        "four sides.</p>"
    )
    return html.section(
        "surface",
        "Surface",
        box,
        _stills(material),
        html.json_block("surface-data", packed),
        html.json_block("camera-data", cameras),
    )


def _stills(material: Material) -> str:
    surface, frame = material.run.surface, material.frame
    if surface is None or frame is None or not len(surface.faces):
        return ""
    shown = draw_sides(surface, frame, _STILL)
    size = (_STILL, _STILL)
    pictures = [
        f"<figure>{html.picture(data_uri(pair[index]), f'The mesh {how}, {side}', size)}"
        f"<figcaption>{html.text(side)}</figcaption></figure>"
        for index, how in enumerate(("in its colours", "as plain clay"))
        for side, pair in shown.items()
    ]
    return f'<div class="stills">{"".join(pictures)}</div>'


def views_section(material: Material) -> str:
    """The inputs, each with what is known of it."""
    run = material.run
    points = run.points_of_view
    values = zip(
        material.views,
        material.thumbnails,
        run.of_views("agrees"),
        run.of_views("confidence"),
        run.of_views("cost"),
        [None] * len(material.views) if points is None else points.tolist(),
        strict=True,
    )
    figures = []
    for index, (view, small, agrees, confidence, cost, n_points) in enumerate(values):
        facts = {"size": f"{view.camera.width} x {view.camera.height}"}
        if small.kept is not None:
            facts["mask keeps"] = f"{small.kept:.0%}"
        if isinstance(confidence, float):
            facts["confidence"] = f"{confidence:.2f}"
        if isinstance(cost, float):
            facts["likeness"] = f"{1 - cost:.2f}"
        if n_points is not None:
            facts["points"] = f"{n_points:,}"
        odd = '<p class="odd">head not found by itself</p>' if agrees is False else ""
        masked = "" if small.mask is None else ", its mask outlined"
        height, width = small.picture.shape[:2]
        shown = html.picture(data_uri(small.picture), f"{view.name}{masked}", (width, height))
        look = f'<button type="button" data-view="{index}" hidden>Look from here</button>'
        figures.append(
            f"<figure>{shown}<figcaption><b>{html.text(view.name)}</b>{odd}"
            f"{html.pairs(facts)}{look}</figcaption></figure>"
        )
    return html.section(
        "views",
        "Views",
        '<p class="hint">Outlined is what the mask keeps. Confidence is the mean of the network\'s '
        "over the head; likeness is the median correlation of the view's patches with those of "
        "other views, 1 at best; points are those of the cloud that the view agrees on.</p>",
        f'<div class="sheet">{"".join(figures)}</div>',
    )


def coverage_section(material: Material) -> str:
    """How many views see which part of the head."""
    if material.surface is None or material.seen is None:
        return ""
    n_views = np.bincount(material.seen, minlength=4)
    total = max(len(material.seen), 1)
    seen = [
        (f"{n} views or more", _share(n_views[n:].sum() / total))
        for n in (2, 3, 4, 6, 8)
        if n <= len(material.views)
    ]
    of_surface = html.table(
        "Share of the reconstructed surface that is seen by", ("by", "share"), seen
    )
    found = material.coverage
    if found is None:
        return html.section("coverage", "Coverage", of_surface)
    rows = [
        (
            html.text(part.name),
            *map(_share, (part.reconstructed, part.by_two, part.by_three)),
            "-" if np.isnan(part.confidence) else f"{part.confidence:.2f}",
        )
        for part in found.parts
    ]
    header = ("part", "reconstructed", "seen by two", "by three", "confidence")
    parts = html.table("Parts of the canonical head, of their area", header, rows)
    size = (_ATLAS, _ATLAS)
    views = data_uri(color_steps(draw_on_atlas(found.views, _ATLAS)))
    sure = data_uri(color_shares(draw_on_atlas(found.confidence, _ATLAS)))
    flat = "the canonical head laid flat: face in the middle, crown above, left ear on the right"
    maps = (
        f"<figure>{html.picture(views, f'Views that see each place of {flat}', size)}"
        f"<figcaption><b>Views that see it</b>{_steps()}</figcaption></figure>"
        f"<figure>{html.picture(sure, f'Confidence at each place of {flat}', size)}"
        '<figcaption><b>Confidence</b><span class="ramp" aria-hidden="true"></span>'
        "0 to 1; grey is not reconstructed</figcaption></figure>"
    )
    return html.section(
        "coverage",
        "Coverage",
        f'<p class="hint">Seen is what lies in the picture and in its mask, nothing before it. '
        f"The maps show {flat}.</p>",
        f'<div class="maps">{maps}<div>{parts}{of_surface}</div></div>',
    )


def _share(share: float) -> str:
    return f"{share:.0%}{html.bar(share)}"


def _steps() -> str:
    last = len(STEPS) - 1
    steps = "".join(
        f'<span><i style="background:{color}"></i>{k}{"+" if k == last else ""}</span>'
        for k, color in enumerate(STEPS)
    )
    return f'<span class="steps">{steps}</span>'


def figures_section(material: Material) -> str:
    """Histograms of errors and of confidence."""
    plots = []
    error = material.run.notes.get("reprojection_px")
    if isinstance(error, dict) and error.get("median") is not None:
        title = "Reprojection error of the triangulated points"
        plots.append(html.histogram(error, title, "px", 2))
    cloud = material.run.cloud
    if cloud is not None:
        plots.append(
            html.histogram(count_values(cloud.confidence, 1.0), "Confidence of the points", "", 2)
        )
    hint = (
        '<p class="hint">Reprojection errors are those of the cube matches, before refinement: '
        "they say how well the network's places and the poses fit together, not how good the mesh "
        "is.</p>"
    )
    body = f'<div class="plots">{"".join(plots)}</div>' if any(plots) else ""
    return html.section("figures", "Errors and confidence", hint if body else "", body)


def time_section(material: Material) -> str:
    """Wall and processor time and memory of the stages."""
    record = material.run.record
    seconds, cpu, peak = (record[k] for k in ("seconds", "cpu_seconds", "stage_peak_mb"))
    most = max([*seconds.values(), *cpu.values(), 1e-9])
    rows = [
        (
            html.text(stage + _source(material.run.cached.get(stage))),
            f"{wall:.1f} s{html.bar(wall / most)}",
            f"{cpu.get(stage, 0):.1f} s{html.bar(cpu.get(stage, 0) / most)}",
            f"{peak.get(stage, 0):,.0f} MB",
        )
        for stage, wall in seconds.items()
    ]
    wall, work = (f"{sum(of.values()):.1f} s" for of in (seconds, cpu))
    rows.append(("total", wall, work, f"{max([*peak.values(), 0]):,.0f} MB"))
    header = ("stage", "time", "processor time", "most memory so far")
    stages = html.table("Time and memory of the stages", header, rows)
    counts = [
        (html.text(_COUNTS.get(name, name.replace("_", " "))), f"{count:,}")
        for name, count in record["counts"].items()
        if count or name not in STATUSES
    ]
    made = html.table("What the stages made", ("what", "number"), counts)
    return html.section(
        "stages", "Stages", f'<div class="columns"><div>{stages}</div><div>{made}</div></div>'
    )


def _source(cached: str | None) -> str:
    """What is said of a stage that came from an earlier run, all of it or some parts."""
    if not cached:
        return ""
    return f" ({'' if cached == 'all' else f'{cached} '}from an earlier run)"


def details_section(material: Material) -> str:
    """The command to run again, and what only matters when results differ."""
    record = material.run.record
    command = command_of(material.run.folder, record)
    options = {
        f"{stage}.{name}": value
        for stage, values in record["options"].items()
        for name, value in (values if isinstance(values, dict) else {"": values}).items()
    }
    return html.section(
        "again",
        "To run it again",
        f"<pre><code>{html.text(command)}</code></pre>",
        html.details("Options of every stage", html.pairs(options)),
        html.details("Versions", html.pairs(record["versions"])),
        html.details("SHA-256 of picture, mask and camera", html.pairs(record["inputs"])),
        html.details("Files", html.pairs(_files(material))),
    )


def _files(material: Material) -> dict[str, str]:
    folder = material.run.folder
    sizes: dict[str, str] = {}
    for name in material.run.record["files"]:
        if name not in material.run.missing:
            sizes[name] = f"{(folder / name).stat().st_size / 1e6:.1f} MB"
    return sizes
