"""The command that makes a run again, from what ``run.json`` says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calib.capture import Capture
from mvs.pipeline import PRESETS

# Not of the command line, or nothing that changes results.
_HIDDEN = ("embed", "cache")


def command_of(capture: Capture, folder: Path, record: Mapping[str, Any]) -> str:
    """``mvs reconstruct ...`` with the preset that is nearest, and what differs from it.

    Args:
        capture: that was reconstructed.
        folder: of the results.
        record: ``run.json``.
    """
    words = ["mvs", "reconstruct", str(record["capture"]), "--output", str(folder)]
    for option, found in (("--images", _images(capture)), ("--masks", _masks(capture))):
        if found is not None and found != capture.path / option[2:]:
            words += [option, str(found)]
    embedder, until = str(record.get("embedder", "compact")), str(record.get("until", "mesh"))
    if embedder != "compact":
        words += ["--embedder", embedder]
    if embedder == "precomputed":
        words += ["--cube-maps", "DIR"]
    options = record["options"]
    different = {name: _differences(asdict(preset), options) for name, preset in PRESETS.items()}
    alike = {name: words for name, words in different.items() if words is not None}
    if alike:
        quality = min(alike, key=lambda name: len(alike[name]))
        words += ["--quality", quality, *alike[quality]]
    if until != "mesh":
        words += ["--until", until]
    return " ".join(shlex.quote(word) for word in words)


def _differences(preset: Mapping[str, Any], options: Mapping[str, Any]) -> list[str] | None:
    """Words that turn a preset's options into a run's; None where one refines and one does not."""
    words: list[str] = []
    for stage, default in json.loads(json.dumps(preset)).items():
        found = options.get(stage, default)
        if stage in _HIDDEN or found == default:
            continue
        if not isinstance(found, dict) or not isinstance(default, dict):
            return None
        for name, value in default.items():
            given = found.get(name, value)
            option = f"--{stage}.{name}".replace("_", "-")
            if given == value:
                continue
            if isinstance(given, bool):
                words.append(option if given else f"--{stage}.no-{name}".replace("_", "-"))
            elif isinstance(given, list):
                words += [option, *map(str, given)]
            else:
                words += [option, str(given)]
    return words


def _images(capture: Capture) -> Path | None:
    view = capture.views[0]
    return _without(view.image_path, view.name)


def _masks(capture: Capture) -> Path | None:
    """The folder of the masks, as far as names say."""
    view = next((view for view in capture.views if view.mask_path is not None), None)
    if view is None or view.mask_path is None:
        return None
    depth = len(Path(view.name).parts)
    return view.mask_path.parents[depth - 1] if len(view.mask_path.parents) >= depth else None


def _without(path: Path, name: str) -> Path | None:
    """The folder that a name is counted from; None where the path is no such."""
    parts = Path(name).parts
    return path.parents[len(parts) - 1] if path.parts[-len(parts) :] == parts else None
