"""Addresses the viewer listens on, and what it says where it cannot."""

import socket
import sys

import pytest

from mvs.cli import main
from mvs.stages.export import write_mesh
from mvs.viewer.serve import free_port, open_browser
from tests.ball import make_ball


def listening():
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken, taken.getsockname()[1]


def test_a_free_port_is_found():
    assert 1024 <= free_port("127.0.0.1", 0) <= 65535
    taken, port = listening()
    with taken:
        found = free_port("127.0.0.1", port)
    assert port < found <= port + 50


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["mesh.ply", "--compare", "nowhere"], "nowhere: no such file or folder"),
        (["mesh.ply", "--capture", "nowhere"], "nowhere: no such folder or file"),
        (["mesh.ply", "--port", "70000"], "--port must be in 0..65535, got 70000"),
        (["mesh.ply", "--host", "192.0.2.7"], "cannot listen on 192.0.2.7:8080"),
        (["mesh.ply", "--host", "no such host"], "cannot listen on no such host:8080"),
    ],
)
def test_bad_input_gets_one_line(capfd, tmp_path, monkeypatch, arguments, says):
    pytest.importorskip("viser")
    monkeypatch.chdir(tmp_path)
    write_mesh(make_ball(6, 12).mesh, tmp_path / "mesh.ply")
    assert main.run(["view", *arguments, "--no-open"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("mvs: ")
    assert says in err


def test_without_viser_it_says_what_to_install(capfd, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    write_mesh(make_ball(6, 12).mesh, tmp_path / "mesh.ply")
    assert main.run(["view", str(tmp_path / "mesh.ply"), "--no-open"]) == 2
    assert "pip install 'headmvs[view]'" in capfd.readouterr().err


def test_no_browser_is_opened_without_a_screen(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("webbrowser.open", lambda _: 1 / 0)
    assert not open_browser("http://localhost:1")
