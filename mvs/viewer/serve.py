"""The server of the viewer: its address, and how long it runs."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from threading import Event

from mvs.viewer.subject import Subject

# Ports tried after one that is in use.
_TRIES = 50


def serve(
    subjects: Sequence[Subject],
    host: str,
    port: int,
    started: Callable[[str, int], None],
    until: Event | None = None,
) -> None:
    """Show subjects to browsers until interrupted.

    Args:
        subjects: one, or two to compare.
        host: address to listen on.
        port: to listen on; the next free one where it is in use; 0 for any.
        started: called with the address for a browser, and the port.
        until: ends the server when set; only an interrupt does if None.

    Raises:
        ValueError: if viser is not installed, or the address cannot be listened on.
    """
    try:
        import viser
    except ImportError:
        raise ValueError("the viewer needs viser: pip install 'headmvs[view]'") from None

    from mvs.viewer.panel import Panel
    from mvs.viewer.scene import Scene

    port = free_port(host, port)
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=port, verbose=False)
    scene = None
    try:
        scene = Scene(server, subjects)
        Panel(server, scene)
        shown = "localhost" if host in ("0.0.0.0", "::", "127.0.0.1") else host
        started(f"http://{shown}:{server.get_port()}", server.get_port())
        (until or Event()).wait()
    finally:
        if scene is not None:
            scene.stop()
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


def free_port(host: str, port: int) -> int:
    """The first port from ``port`` on that can be listened on; any where it is 0.

    Raises:
        ValueError: if the host is none of this machine's, or the ports cannot be used.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port must be in 0..65535, got {port}")
    last = min(port + _TRIES, 65535) if port else 0
    for candidate in range(port, last + 1):
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, candidate))
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                reason = error.strerror or str(error)
                raise ValueError(f"cannot listen on {host}:{candidate} ({reason})") from None
    raise ValueError(f"ports {port} to {last} are in use: say another --port")


def open_browser(address: str) -> bool:
    """Open the address where there is a screen to show it; whether a browser was asked to."""
    has_screen = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if sys.platform.startswith("linux") and not has_screen:
        return False
    return webbrowser.open(address)
