"""``report.html`` of a run: one file that needs no network and opens by a double click."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from calib.calibration import some_names
from calib.capture import Capture
from calib.files import replacing
from mvs.record import hash_inputs
from mvs.viewer import report_parts as html
from mvs.viewer.report_advice import find_findings
from mvs.viewer.report_material import Material, gather
from mvs.viewer.report_run import read_record
from mvs.viewer.report_sections import (
    coverage_section,
    details_section,
    figures_section,
    findings_section,
    make_verdict,
    preview_section,
    time_section,
    views_section,
)

NAME = "report.html"
_HERE = Path(__file__).parent


def write_report(capture: Capture, output: Path, warnings: Sequence[str] = ()) -> Path:
    """Write the report of a finished run beside its results.

    Args:
        capture: that was reconstructed.
        output: the run's folder, with its ``run.json``.
        warnings: more of them than the run itself noted.

    Returns:
        ``output / "report.html"``. The same run gives the same bytes.

    Raises:
        CaptureError: if ``run.json`` or a picture cannot be read, the views are not the run's, or
            the file cannot be written.
    """
    page = make_page(gather(capture, output, warnings))
    path = output / NAME
    with replacing(path) as stream:
        stream.write(page.encode())
    return path


def remake_report(capture: Capture, output: Path) -> Path:
    """Write the report of an earlier run again, and say in it which inputs have changed since.

    Args:
        capture: as it is now.
        output: the run's folder.

    Raises:
        CaptureError: as ``write_report``.
    """
    record = read_record(output)
    now = hash_inputs(capture)
    changed = [name for name, digest in record["inputs"].items() if now.get(name, digest) != digest]
    warnings = [f"{len(changed)} views have changed since the run: {some_names(changed)}"]
    return write_report(capture, output, warnings if changed else ())


def make_page(material: Material) -> str:
    """The report as HTML."""
    findings = find_findings(material)
    sections = (
        make_verdict(material, findings),
        findings_section(findings),
        preview_section(material),
        views_section(material),
        coverage_section(material),
        figures_section(material),
        time_section(material),
        details_section(material),
    )
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    parts = {
        "title": html.text(f"{material.capture.path.resolve().name} - headmvs report"),
        "style": (_HERE / "report.css").read_text(encoding="utf-8"),
        "script": script,
        # The one script that the page may run, whatever else might find its way into it.
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        "body": "\n".join(part for part in sections if part),
    }
    page = (_HERE / "report.html").read_text(encoding="utf-8")
    pieces = page.split("{{")
    for k, piece in enumerate(pieces[1:], 1):
        name, _, rest = piece.partition("}}")
        pieces[k] = parts[name] + rest
    return "".join(pieces)
