"""The command that makes a run again, from what ``run.json`` says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvs.pipeline import PRESETS

# Not of the command line, or nothing that changes results.
_HIDDEN = ("embed", "cache")


def command_of(folder: Path, record: Mapping[str, Any]) -> str:
    """``mvs reconstruct ...`` with the preset that is nearest, and what differs from it.

    Args:
        folder: of the results.
        record: ``run.json``.
    """
    words = ["mvs", "reconstruct", str(record["capture"]), "--output", str(folder)]
    for name in ("images", "masks"):
        if record.get(name) is not None:
            words += [f"--{name}", str(record[name])]
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
