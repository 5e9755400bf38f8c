"""``mvs completion``: a script that completes commands, options and choices in a shell."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Options:
    """Print a completion script; what it completes is written in it, so that completing is quick.

    Attributes:
        shell: which.
    """

    shell: Positional[Literal["bash", "zsh", "fish"]]


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.completion_scripts import SCRIPTS
    from mvs.cli.show import deliver

    script = SCRIPTS[options.shell](known_words())
    deliver({"shell": options.shell, "script": script})
    sys.stdout.write(script)


def known_words() -> dict[str, dict[str, tuple[str, ...] | None]]:
    """What each command takes.

    Returns:
        By command: each option with its choices, None where it takes no value, empty where it takes
        any; what goes without a flag is under an empty name.
    """
    import importlib

    from mvs.cli.fields import list_options
    from mvs.cli.main import COMMANDS

    found: dict[str, dict[str, tuple[str, ...] | None]] = {}
    for name, command in COMMANDS.items():
        module = importlib.import_module(command.module)
        words: dict[str, tuple[str, ...] | None] = {}
        for option in list_options(module.Options) if hasattr(module, "Options") else ():
            for flag in option.flags or ("",):
                value = None if option.hint is bool else option.choices
                words[flag] = (words.get("") or value) if flag == "" else value
        found[name] = words | {"--config": (), "--json": None, "--debug": None, "--help": None}
    found["config show"][""] = tuple(dict.fromkeys(name.split()[0] for name in COMMANDS))
    return found
