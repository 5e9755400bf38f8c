"""The command ``mvs``: finds the command that is meant and runs it.

A command is a module with a frozen dataclass ``Options`` and ``run(options)``; where defaults
depend on what is given, also ``defaults(arguments)``. Modules are imported only when they are
meant, so that ``mvs --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from typing import Any, NamedTuple


class Command(NamedTuple):
    """Where a command lives and what it does, in one line."""

    module: str
    summary: str


COMMANDS = {
    "reconstruct": Command("mvs.cli.reconstruct", "reconstruct a capture: cloud and mesh"),
    "embed": Command("mvs.cli.embed", "write the cube maps of a capture's pictures"),
    "texture": Command("mvs.cli.texture", "colour a mesh with its capture's pictures"),
    "export": Command("mvs.cli.export", "write a result as GLB, OBJ, USD, STL or for COLMAP"),
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
    "evaluate reconstruction": Command(
        "mvs.cli.evaluate_reconstruction", "compare a result with a capture's ground truth"
    ),
    "evaluate embedder": Command(
        "mvs.cli.evaluate_embedder", "measure an embedder: against truth, poses or labelled photos"
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
    "synthesize training": Command(
        "mvs.cli.synthesize_training", "render training pictures of random heads"
    ),
    "tracks": Command("mvs.cli.tracks", "point tracks of a video or a capture, as training pairs"),
    "train": Command("mvs.cli.train", "train the compact network on rendered pictures"),
    "doctor": Command("mvs.cli.doctor", "whether this machine can do what headmvs asks of it"),
    "weights fetch": Command("mvs.cli.weights_fetch", "download a public checkpoint"),
    "weights card": Command("mvs.cli.weights_card", "print the shipped network's model card"),
}

_BOX_TITLES = r"^(Invalid choice|Parsing error|Value error|Unrecognized options|Required options) "
_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line.

    Args:
        arguments: words after ``mvs``.

    Returns:
        0 on success, 2 for bad input (one line on stderr says what), 130 when interrupted.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0 if arguments else _BAD_INPUT
    if arguments[0] == "--version":
        import importlib.metadata

        sys.stdout.write(f"headmvs {importlib.metadata.version('headmvs')}\n")
        return 0
    name = next((n for n in (" ".join(arguments[:2]), arguments[0]) if n in COMMANDS), None)
    if name is None:
        return _group_help(arguments)
    try:
        return _run_command(name, arguments[len(name.split()) :])
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", _INTERRUPTED)
    except BrokenPipeError:
        return _FAILED


def usage(group: str = "") -> str:
    """The list of commands, or of those of one group."""
    lines = ["usage: mvs COMMAND ...    (mvs COMMAND --help says more)", ""]
    shown = {name: c for name, c in COMMANDS.items() if name.startswith(group)}
    lines += [f"  {name:<26}{command.summary}" for name, command in shown.items()]
    return "\n".join(lines) + "\n"


def _group_help(arguments: list[str]) -> int:
    word = arguments[0]
    if any(name.startswith(f"{word} ") for name in COMMANDS):
        if len(arguments) == 1 or arguments[1] in ("-h", "--help"):
            sys.stdout.write(usage(f"{word} "))
            return 0 if len(arguments) > 1 else _BAD_INPUT
        word = " ".join(arguments[:2])
    return _complain(f"no command {word!r}; mvs --help lists them", _BAD_INPUT)


def _run_command(name: str, arguments: list[str]) -> int:
    from calib.capture import CaptureError
    from mvs.errors import ReconstructionError

    module: Any = importlib.import_module(COMMANDS[name].module)
    try:
        options = _parse(name, module, arguments)
        if isinstance(options, int):
            return options
        code = module.run(options)
    except (CaptureError, ReconstructionError, ValueError) as error:
        return _complain(" ".join(str(error).split()), _BAD_INPUT)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", _BAD_INPUT)
    return int(code or 0)


def _parse(name: str, module: Any, arguments: list[str]) -> Any:
    """The options, or the exit code where parsing ends the run."""
    import tyro

    complaints = io.StringIO()
    default = module.defaults(arguments) if hasattr(module, "defaults") else None
    try:
        with contextlib.redirect_stderr(complaints):
            return tyro.cli(module.Options, args=arguments, default=default, prog=f"mvs {name}")
    except SystemExit as stop:
        if stop.code in (0, None):
            return 0
        text = re.sub(r"[^\x20-\x7e\n]", " ", complaints.getvalue())
        words = " ".join(re.sub(r"-{3,}", " ", text).split())
        words = words.partition(" For full helptext")[0]
        words = re.sub(_BOX_TITLES, "", words)
        words = re.sub(r"one of \((.*?)\)", _in_order, words)
        words = re.sub(r" Perhaps you meant: (\S+).*", r"; perhaps \1", words)
        return _complain(f"{words}; mvs {name} --help lists the options", _BAD_INPUT)


def _in_order(choices: re.Match[str]) -> str:
    """Choices; sorted where the argument is optional, as tyro then takes them from a set."""
    names = [word.strip(" '") for word in choices[1].split(",")]
    if "None" in names:
        names = sorted(name for name in names if name != "None")
    return f"one of {', '.join(names)}"


def _complain(line: str, code: int) -> int:
    sys.stderr.write(f"mvs: {line}\n")
    return code
