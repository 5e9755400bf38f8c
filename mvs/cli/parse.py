"""Words of a command line to the options of a command, and what is wrong with them in one line."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple

from mvs.cli.spelling import suggestion

_BOX_TITLES = (
    r"^(Invalid choice|Parsing error|Value error|Missing argument|Unrecognized options|"
    r"Required options) "
)
# What the parser says where the options' own checks fail.
_DO_NOT_GO = "Error parsing "


class Common(NamedTuple):
    """The options that every command takes, and the words that are left."""

    words: list[str]
    config: Path | None
    json: bool
    debug: bool


class Stop(Exception):  # noqa: N818 - to ask for help is no error
    """The words end the run: help was asked for, or they are wrong.

    Attributes:
        line: what is wrong; empty where nothing is.
    """

    def __init__(self, line: str = "") -> None:
        super().__init__(line)
        self.line = line


def split_common(arguments: Sequence[str]) -> Common:
    """Take out the options that every command takes.

    ``--json`` before a name that ends in ``.json`` is left: it is for the command.

    Raises:
        ValueError: if --config lacks its file.
    """
    words: list[str] = []
    config, json, debug = None, False, bool(os.environ.get("MVS_DEBUG"))
    left = list(arguments)
    while left:
        word = left.pop(0)
        name, _, value = word.partition("=")
        if word == "--debug":
            debug = True
        elif word == "--json" and not (left and left[0].endswith(".json")):
            json = True
        elif name == "--config":
            value = value or (left.pop(0) if left else "")
            if not value or value.startswith("-"):
                raise ValueError("--config needs a file: --config FILE.toml")
            config = Path(value)
        else:
            words.append(word)
    return Common(words, config, json, debug)


def parse(
    name: str, module: Any, words: Sequence[str], config: Path | None, commands: Sequence[str]
) -> Any:
    """The options of a command, from its words, a file and its defaults.

    Args:
        name: of the command.
        module: of the command, with ``Options`` and perhaps ``defaults``.
        words: after the command.
        config: TOML file of options.
        commands: names of all commands.

    Raises:
        Stop: if help was asked for, or the words are wrong.
        ValueError: if the file is wrong, or options do not go together.
        OSError: if the file cannot be read.
    """
    default = starting_point(name, module, words, config, commands)
    try:
        return call_tyro(name, module.Options, words, default)
    except ValueError as error:
        if config is None:
            raise
        raise ValueError(f"{error} (with what {config} says)") from None


def starting_point(
    name: str, module: Any, words: Sequence[str], config: Path | None, commands: Sequence[str]
) -> Any:
    """The options before the words are looked at; None where they are the dataclass's own."""
    hook = getattr(module, "defaults", None)
    if config is None:
        return hook(list(words)) if hook else None
    from mvs.cli.config import apply_settings, read_settings, words_of

    settings = read_settings(config, name, commands)
    default = hook([*words_of(settings), *words]) if hook else bare(module.Options)
    return apply_settings(config, settings, default, words)


def bare(kind: type) -> Any:
    """A dataclass's defaults without what has to be given, which no constructor would take."""
    import tyro

    instance: Any = object.__new__(kind)
    for field in fields(kind):
        value = field.default
        if field.default_factory is not MISSING:
            value = field.default_factory()
        object.__setattr__(instance, field.name, tyro.MISSING if value is MISSING else value)
    return instance


def call_tyro(name: str, kind: type, words: Sequence[str], default: Any) -> Any:
    """Parse words.

    Raises:
        Stop: if help was asked for, or the words are wrong.
        ValueError: if options do not go together.
    """
    import tyro

    if os.environ.get("NO_COLOR"):
        tyro._experimental_options["ansi_codes"] = False  # noqa: SLF001 - there is no other way
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            return tyro.cli(kind, args=list(words), default=default, prog=f"mvs {name}")
    except SystemExit as stop:
        if stop.code in (0, None):
            raise Stop from None
    line = _what_is_wrong(name, default or kind, words, complaints.getvalue())
    if line.startswith(_DO_NOT_GO):
        raise ValueError(line.removeprefix(_DO_NOT_GO).removeprefix("Options: "))
    raise Stop(f"{line}; mvs {name} --help lists the options")


def _what_is_wrong(name: str, options: Any, words: Sequence[str], complaint: str) -> str:
    import tyro

    from mvs.cli.fields import describe_type, list_options

    known = list_options(options)
    flags = [flag for option in known for flag in option.flags]
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag.replace("_", "-") not in flags:
            if flag == "--json":
                return f"mvs {name} has no --json FILE; --json alone prints to stdout"
            return f"mvs {name} has no option {flag}{suggestion(flag, flags)}"
    text = _plain(complaint)
    if text.startswith(f"{_DO_NOT_GO}--"):
        flag = text.removeprefix(_DO_NOT_GO).partition(":")[0]
        hint = next((option.hint for option in known if option.flag == flag), str)
        return f"{flag} must be {describe_type(hint)}, got {_value_of(flag, words)!r}"
    if text.startswith("Missing from"):
        missing = (MISSING, tyro.MISSING)
        required = [o.metavar or o.flag for o in known if any(o.default is m for m in missing)]
        lacking = [n for n in required if re.search(rf"(?<!\S){re.escape(n)} ", text)]
        return f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} required"
    if text.startswith("Unrecognized options: "):
        return f"unexpected {text.partition(': ')[2].partition(';')[0]}"
    return text


def _value_of(flag: str, words: Sequence[str]) -> str:
    """What the words give for a flag."""
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        if name.replace("_", "-") == flag:
            after = itertools.takewhile(lambda w: not w.startswith("--"), words[place + 1 :])
            return value or " ".join(after)
    return ""


def _plain(complaint: str) -> str:
    """The parser's complaint on one line, without its box."""
    text = re.sub(r"[^\x20-\x7e\n]", " ", complaint)
    words = " ".join(re.sub(r"-{3,}", " ", text).split())
    words = words.partition(" For full helptext")[0]
    words = re.sub(_BOX_TITLES, "", words)
    words = re.sub(r"one of \((.*?)\)", _in_order, words)
    return re.sub(r" Perhaps you meant: (\S+).*", r"; perhaps \1", words).rstrip(".")


def _in_order(choices: re.Match[str]) -> str:
    """Choices; sorted where the argument is optional, as tyro then takes them from a set."""
    names = [word.strip(" '") for word in choices[1].split(",") if word.strip()]
    if "None" in names:
        names = sorted(name for name in names if name != "None")
    return f"one of {', '.join(names)}"
