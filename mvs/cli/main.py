"""The command ``mvs``: finds the command that is meant and runs it.

A command is a module with a frozen dataclass ``Options`` and ``run(options)``; where defaults
depend on what is given, also ``defaults(arguments)``; where its words are not its own options,
``run_words(words, config)`` instead. Modules are imported only when they are meant, so that
``mvs --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from mvs.cli.guide import command_epilog, usage
from mvs.cli.parse import Common, Stop, parse, split_common
from mvs.cli.spelling import suggestion


class Command(NamedTuple):
    """Where a command lives and what it does, in one line."""

    module: str
    summary: str


COMMANDS = {
    "reconstruct": Command("mvs.cli.reconstruct", "reconstruct a capture: cloud and mesh"),
    "embed": Command("mvs.cli.embed", "write the cube maps of a capture's pictures"),
    "batch": Command("mvs.cli.batch", "reconstruct every frame of a sequence, on many machines"),
    "batch export": Command(
        "mvs.cli.batch_export", "the registered frames as one moving mesh: USD, or a PLY a frame"
    ),
    "batch plan": Command(
        "mvs.cli.batch_plan", "what many frames cost on many workers, from what a few did"
    ),
    "texture": Command("mvs.cli.texture", "colour a mesh with its capture's pictures"),
    "export": Command("mvs.cli.export", "write a result as GLB, OBJ, USD, STL or for COLMAP"),
    "report": Command("mvs.cli.report", "write the report of a finished run again"),
    "view": Command("mvs.cli.view", "look at a result, or compare two, in a browser"),
    "calib photos": Command(
        "mvs.cli.calib_photos", "calibrate photographs: a capture from a folder"
    ),
    "calib inspect": Command(
        "mvs.cli.calib_inspect", "say what a capture is and what will hurt: table, JSON, picture"
    ),
    "calib convert": Command(
        "mvs.cli.calib_convert", "write a capture with its cameras in another program's format"
    ),
    "calib scale": Command("mvs.cli.calib_scale", "a capture in a true unit, from what is known"),
    "calib adjust": Command("mvs.cli.calib_adjust", "refine poses that are slightly off"),
    "canonical show": Command(
        "mvs.cli.canonical_show", "draw the template, and pictures in the cube"
    ),
    "canonical landmarks": Command(
        "mvs.cli.canonical_landmarks", "landmarks in any layout: of pictures, a capture or a mesh"
    ),
    "canonical query": Command(
        "mvs.cli.canonical_query", "find points clicked in one picture in all others"
    ),
    "canonical track": Command("mvs.cli.canonical_track", "follow points through a video"),
    "canonical segment": Command(
        "mvs.cli.canonical_segment", "regions of pictures and meshes, in any layout"
    ),
    "canonical warp": Command(
        "mvs.cli.canonical_warp", "one picture of a head in the geometry of another"
    ),
    "canonical decal": Command("mvs.cli.canonical_decal", "put texture onto pictures and meshes"),
    "canonical texture": Command(
        "mvs.cli.canonical_texture", "a head's colours over the template's atlas"
    ),
    "canonical register": Command(
        "mvs.cli.canonical_register", "wrap the template onto a reconstruction"
    ),
    "canonical correspond": Command(
        "mvs.cli.canonical_correspond", "where the vertices of one head lie on another"
    ),
    "fit image": Command("mvs.cli.fit_image", "fit a head model to one picture"),
    "fit capture": Command(
        "mvs.cli.fit_capture", "fit a head model to a capture, all views together"
    ),
    "fit video": Command(
        "mvs.cli.fit_video", "fit a head model to a video: one identity, a pose per frame"
    ),
    "headmodel show": Command("mvs.cli.headmodel_show", "say what a morphable head model has"),
    "headmodel pack": Command("mvs.cli.headmodel_pack", "write a morphable head model as one file"),
    "headmodel train": Command(
        "mvs.cli.headmodel_train", "train the shape regressor on rendered portraits"
    ),
    "evaluate reconstruction": Command(
        "mvs.cli.evaluate_reconstruction", "compare a result with a capture's ground truth"
    ),
    "evaluate embedder": Command(
        "mvs.cli.evaluate_embedder", "measure an embedder: against truth, poses or labelled photos"
    ),
    "evaluate sequence": Command(
        "mvs.cli.evaluate_sequence", "registered frames against the truth: error and flicker"
    ),
    "evaluate canonical": Command(
        "mvs.cli.evaluate_canonical", "measure landmarks in space, or a tracked sequence"
    ),
    "evaluate warp": Command(
        "mvs.cli.evaluate_warp", "measure warps and regions against a capture's ground truth"
    ),
    "evaluate fit": Command(
        "mvs.cli.evaluate_fit", "measure fits of a head model against true heads"
    ),
    "synthesize capture": Command(
        "mvs.cli.synthesize_capture", "render a capture of a random head, with ground truth"
    ),
    "synthesize sequence": Command(
        "mvs.cli.synthesize_sequence", "render a video of a turning head, with true points"
    ),
    "synthesize fits": Command(
        "mvs.cli.synthesize_fits", "render people to measure fits of head models by"
    ),
    "synthesize performance": Command(
        "mvs.cli.synthesize_performance", "render a moving face before still cameras, with truth"
    ),
    "synthesize training": Command(
        "mvs.cli.synthesize_training", "render training pictures of random heads"
    ),
    "synthesize portraits": Command(
        "mvs.cli.synthesize_portraits", "render portraits of random people for headmodel train"
    ),
    "tracks": Command("mvs.cli.tracks", "point tracks of a video or a capture, as training pairs"),
    "train": Command("mvs.cli.train", "train the compact network on rendered pictures"),
    "doctor": Command("mvs.cli.doctor", "whether this machine can do what headmvs asks of it"),
    "config show": Command("mvs.cli.config_show", "print a command's options as a TOML file"),
    "completion": Command("mvs.cli.completion", "print a script that completes mvs in your shell"),
    "weights fetch": Command("mvs.cli.weights_fetch", "download a public checkpoint"),
    "weights mean": Command("mvs.cli.weights_mean", "average networks trained from common weights"),
    "weights card": Command("mvs.cli.weights_card", "print a shipped network's model card"),
}

_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with its exit code."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read along has gone: nothing is left to say, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _FAILED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line.

    Args:
        arguments: words after ``mvs``.

    Returns:
        0 on success; 1 where something failed that was not the input's fault; 2 for bad input, for
        which one line on stderr says what; 130 when interrupted.
    """
    try:
        common = split_common(arguments)
    except ValueError as error:
        return _complain(str(error), _BAD_INPUT)
    words = common.words
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage(_summaries()))
        return 0 if words else _BAD_INPUT
    if words[0] == "--version":
        sys.stdout.write(f"headmvs {_version()}\n")
        return 0
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    if name is None:
        return _group_help(words)
    common = common._replace(words=words[len(name.split()) :])
    is_for_people = not common.json or not {"-h", "--help"}.isdisjoint(common.words)
    outcome = _run_safely(name, common) if is_for_people else _run_for_machines(name, common)
    return _complain(*outcome) if outcome.line else outcome.code


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("headmvs")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _summaries() -> dict[str, str]:
    return {name: command.summary for name, command in COMMANDS.items()}


def _group_help(words: list[str]) -> int:
    word = words[0]
    if any(name.startswith(f"{word} ") for name in COMMANDS):
        if len(words) == 1 or words[1] in ("-h", "--help"):
            sys.stdout.write(usage(_summaries(), word))
            return 0 if len(words) > 1 else _BAD_INPUT
        word = " ".join(words[:2])
    near = suggestion(word, [*COMMANDS, *(name.split()[0] for name in COMMANDS)])
    near = near or next((f"; did you mean {n}?" for n in COMMANDS if n.endswith(f" {word}")), "")
    return _complain(f"no command {word!r}{near or '; mvs --help lists them'}", _BAD_INPUT)


class _Outcome(NamedTuple):
    """How a command ended; the line says what went wrong."""

    line: str
    code: int


def _run_for_machines(name: str, common: Common) -> _Outcome:
    """Run a command with nothing but one JSON document on stdout."""
    from calib.files import noted_files, noting_files
    from mvs.cli.show import Aside, gathering

    with gathering() as document, noting_files():
        with contextlib.redirect_stdout(Aside(document)):
            outcome = _run_safely(name, common)
        found = document.as_dict(name, noted_files())
    found["exit_code"] = outcome.code
    if outcome.line:
        found["error"] = outcome.line
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return outcome


def _run_safely(name: str, common: Common) -> _Outcome:
    """Run a command; whatever goes wrong is a line and an exit code."""
    from calib.capture import CaptureError
    from mvs.errors import ReconstructionError

    try:
        return _Outcome("", _run_command(name, common))
    except Stop as stop:
        return _Outcome(stop.line, _BAD_INPUT if stop.line else 0)
    except KeyboardInterrupt:
        return _Outcome("interrupted; what was finished is kept", _INTERRUPTED)
    except BrokenPipeError:
        return _Outcome("", _FAILED)
    except Exception as error:  # noqa: BLE001 - a line for whatever it is
        if common.debug:
            traceback.print_exc()
        if isinstance(error, (CaptureError, ReconstructionError, ValueError)):
            return _Outcome(" ".join(str(error).split()), _BAD_INPUT)
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            return _Outcome(f"{where}{error.strerror or error}", _BAD_INPUT)
        return _Outcome(_describe_bug(error), _FAILED)


def _describe_bug(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; give fewer or smaller pictures, or a lower --quality"
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(f"{type(error).__name__}: {error}".split())
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{what} ({where}); this is a bug: please report what --debug prints"


def _run_command(name: str, common: Common) -> int:
    from calib.files import noting_files
    from mvs.cli.show import for_gathering

    module: Any = importlib.import_module(COMMANDS[name].module)
    if hasattr(module, "run_words"):
        return int(module.run_words(common.words, common.config) or 0)
    try:
        options = parse(name, module, common.words, common.config, list(COMMANDS))
    except Stop as stop:
        if not stop.line:
            sys.stdout.write(command_epilog(name))
        raise
    with noting_files():
        return int(module.run(for_gathering(options)) or 0)


def _complain(line: str, code: int) -> int:
    sys.stderr.write(f"mvs: {line}\n")
    return code
