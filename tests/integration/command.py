"""The command line within this process: starting one of its own costs seconds of imports."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from mvs.cli import main


class Done(NamedTuple):
    """What a process would leave behind."""

    returncode: int
    stdout: str
    stderr: str


def mvs(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main.run([str(argument) for argument in arguments])
    done = Done(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in done.stderr, done.stderr
    return done
