"""The help: commands by what they are for, with examples; imports nothing that takes time."""

from __future__ import annotations

from collections.abc import Mapping

from mvs.cli.examples import EXAMPLES

# Titles, and the commands or the groups of commands under each; what is not named comes last.
_SECTIONS = {
    "reconstruct": ("reconstruct", "texture", "export", "embed", "report", "view"),
    "calibrate": ("calib",),
    "canonical head": ("canonical",),
    "head models": ("fit", "headmodel"),
    "sequences and batches": ("batch",),
    "evaluate": ("evaluate",),
    "make data and train": ("synthesize", "tracks", "train"),
    "help and set-up": ("doctor", "weights", "config", "completion"),
}
_REST = "others"

_FIRST_STEPS = """\
first steps:
  mvs doctor                                           does this machine work?
  mvs calib photos photos --output head                photographs to a calibrated capture
  mvs calib inspect head                               what will hurt
  mvs reconstruct head --output out --texture          cloud, mesh and coloured mesh
  mvs export out --output head.glb                     for Blender and others
"""

_OF_ALL = """\
options of every command:
  --config FILE.toml    options from a file; mvs config show COMMAND prints one
  --json                one JSON document on stdout, everything else on stderr
  --debug               show the traceback of an error (also: MVS_DEBUG=1)
  -h, --help            what the command does, its options, examples
"""

_ENDINGS = """\
exit codes: 0 done; 1 failed (doctor: a part does not work); 2 bad input; 130 interrupted
NO_COLOR=1 turns colours off; progress bars show on terminals only
"""


def usage(summaries: Mapping[str, str], group: str = "") -> str:
    """The list of commands by sections, or those of one group.

    Args:
        summaries: one line per command, by name.
        group: first word of the commands to list; empty for all.
    """
    if group:
        return _usage_of(group, {n: s for n, s in summaries.items() if n.split()[0] == group})
    parts = ["usage: mvs COMMAND ...    (mvs COMMAND --help says more)\n", _FIRST_STEPS]
    left = dict(summaries)
    for title, heads in _SECTIONS.items():
        shown = {name: s for head in heads for name, s in left.items() if name.split()[0] == head}
        left = {name: s for name, s in left.items() if name not in shown}
        parts += [_listed(title, shown)] if shown else []
    parts += [_listed(_REST, left)] if left else []
    return "\n".join([*parts, _OF_ALL, _ENDINGS])


def _usage_of(group: str, summaries: Mapping[str, str]) -> str:
    head = f"usage: mvs {group} COMMAND ...    (mvs {group} COMMAND --help says more)\n"
    examples = [line for name in summaries for line in EXAMPLES.get(name, ())[:1]]
    return "\n".join([head, _listed("commands", summaries), _examples(examples)])


def command_epilog(name: str) -> str:
    """What follows a command's own help: the options of every command, and examples."""
    return "\n".join(["", _OF_ALL, _examples(EXAMPLES.get(name, ()))])


def _listed(title: str, summaries: Mapping[str, str]) -> str:
    lines = [f"  {name:<26}{summary}" for name, summary in summaries.items()]
    return "\n".join([f"{title}:", *lines]) + "\n"


def _examples(lines: tuple[str, ...] | list[str]) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines)]) + "\n" if lines else ""
