"""Completion scripts for shells, written from what the commands take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

# By command: options with their choices, see ``mvs.cli.completion.known_words``.
Words = Mapping[str, Mapping[str, tuple[str, ...] | None]]

_BASH = """\
# bash completion of mvs, by mvs completion bash
_mvs() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local first=${COMP_WORDS[1]} words= values= plain= command=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "@HEADS@" -- "$cur"))
        return
    fi
    case $first in
@GROUPS@
        *) command=$first ;;
    esac
    if [[ -z $command ]]; then
        if ((COMP_CWORD == 2)) && [[ $cur != -* ]]; then
            COMPREPLY=($(compgen -W "$words" -- "$cur"))
            return
        fi
        command="$first ${COMP_WORDS[2]}"
    fi
    case $command in
@COMMANDS@
    esac
    case "$command $prev" in
@VALUES@
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    elif [[ -n $values || ( -n $plain && $prev != -* ) ]]; then
        COMPREPLY=($(compgen -W "${values:-$plain}" -- "$cur"))
    fi
}
# Where there is nothing to say, names of files.
complete -o bashdefault -o default -F _mvs mvs
"""

_ZSH = """\
#compdef mvs
# zsh completion of mvs, by mvs completion zsh
_mvs() {
    local first=$words[2] command= flags= values= plain=
    if ((CURRENT == 2)); then
        compadd -- @HEADS@
        return
    fi
    case $first in
@GROUPS@
        *) command=$first ;;
    esac
    if [[ -z $command ]]; then
        if ((CURRENT == 3)) && [[ $words[3] != -* ]]; then
            compadd -- ${=flags}
            return
        fi
        command="$first $words[3]"
    fi
    case $command in
@COMMANDS@
    esac
    case "$command $words[CURRENT-1]" in
@VALUES@
    esac
    if [[ $words[CURRENT] == -* ]]; then
        compadd -- ${=flags}
    elif [[ -n $values ]]; then
        compadd -- ${=values}
    elif [[ -n $plain && $words[CURRENT-1] != -* ]]; then
        compadd -- ${=plain}
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _mvs "$@"
else
    compdef _mvs mvs
fi
"""

_FISH = """\
# fish completion of mvs, by mvs completion fish
function __mvs_in # WORD...: these words come first
    set -l given (commandline -opc)
    set -l n (count $argv)
    set -e given[1]
    test (count $given) -ge $n
    and test "$given[1..$n]" = "$argv"
end
function __mvs_at # WORD...: these words are all there is
    set -l given (commandline -opc)
    set -e given[1]
    test "$given" = "$argv"
end
"""


def _posix(template: str, name: str, words: Words) -> str:
    """A script for bash or zsh; ``name`` is the variable that holds the words to offer."""
    commands, values = [], []
    # A command that others begin with stands for what is none of them.
    for command in sorted(words, key=lambda command: command in _heads(words)):
        options = words[command]
        flags = " ".join(flag for flag in options if flag)
        plain = " ".join(options.get("") or ())
        pattern = (
            f"'{command} '*) command={command}" if command in _heads(words) else f"'{command}')"
        )
        commands.append(f"""        {pattern} {name}="{flags}" plain="{plain}" ;;""")
        values += [
            f"""        '{command} {flag}') values="{" ".join(choices)}" ;;"""
            for flag, choices in options.items()
            if flag and choices
        ]
    groups = [
        f"""        {head}) {name}="{" ".join(members)}" ;;"""
        for head, members in _groups(words).items()
        if members
    ]
    return (
        template.replace("@HEADS@", " ".join([*_groups(words), "--help", "--version"]))
        .replace("@GROUPS@", "\n".join(groups))
        .replace("@COMMANDS@", "\n".join(commands))
        .replace("@VALUES@", "\n".join(values))
    )


def _heads(words: Words) -> set[str]:
    """Words that commands of two words begin with."""
    return {command.split()[0] for command in words if " " in command}


def _groups(words: Words) -> dict[str, list[str]]:
    """First words of commands, with the second words of each; none for a command of one word."""
    found: dict[str, list[str]] = {}
    for command in words:
        head, _, member = command.partition(" ")
        found.setdefault(head, []).extend([member] if member else [])
    return found


def _fish(words: Words) -> str:
    groups = _groups(words)
    lines = [_FISH.rstrip(), _offer("", " ".join(groups))]
    lines += [_offer(head, " ".join(members)) for head, members in groups.items() if members]
    for command, options in words.items():
        for flag, choices in options.items():
            value = f" -xa '{' '.join(choices)}'" if choices else "" if choices is None else " -r"
            lines.append(f"complete -c mvs -n '__mvs_in {command}' -l {flag[2:]}{value}")
        if options.get(""):
            plain = " ".join(options[""] or ())
            lines.append(f"complete -c mvs -n '__mvs_in {command}' -xa '{plain}'")
    return "\n".join(line for line in lines if " -l  " not in line) + "\n"


def _offer(words: str, following: str) -> str:
    return f"complete -c mvs -n '__mvs_at {words}' -xa '{following}'"


SCRIPTS: dict[str, Callable[[Words], str]] = {
    "bash": lambda words: _posix(_BASH, "words", words),
    "zsh": lambda words: _posix(_ZSH, "flags", words),
    "fish": _fish,
}
