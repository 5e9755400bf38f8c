import gc
import hashlib
import stat
import threading
import warnings
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import torch

from mvs.network import download
from mvs.network.download import PUBLIC_WEIGHTS, DownloadError, cached_path, fetch_weights

WEIGHTS = safetensors.torch.save({"weight": torch.arange(700.0)}, metadata={"made": "here"})
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()


def send(handler, body, length=None, status=200, **headers):
    handler.send_response(status)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def send_chunked(handler):
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"64\r\n" + WEIGHTS[:100] + b"\r\n64\r\nbreaks off here")


def redirect(place):
    return lambda handler: send(handler, b"", 0, 302, Location=place)


ROUTES = {
    "/weights": lambda handler: send(handler, WEIGHTS, len(WEIGHTS)),
    "/unsized": lambda handler: send(handler, WEIGHTS),
    "/short": lambda handler: send(handler, WEIGHTS[:-5], len(WEIGHTS)),
    "/cut": lambda handler: send(handler, WEIGHTS[:-5], len(WEIGHTS) - 5),
    "/cut-unsized": lambda handler: send(handler, WEIGHTS[:-5]),
    "/long": lambda handler: send(handler, WEIGHTS + b"\0", len(WEIGHTS) + 1),
    "/empty": lambda handler: send(handler, b"", 0),
    "/page": lambda handler: send(handler, b"<html>\nlog in\n</html>", 21),
    "/chunked": send_chunked,
    "/forbidden": lambda handler: send(handler, b"no\nentry", 8, 403),
    "/broken": lambda handler: send(handler, b"", 0, 500),
    "/moved": redirect("/weights"),
    "/twice": redirect("/moved"),
    "/loop": redirect("/loop"),
    "/to-plain-http": redirect("http://example.invalid/weights"),
    "/to-file": redirect("file:///etc/hostname"),
    "/to-nonsense": redirect("http://[nonsense/"),
    "/silent": lambda _: None,
    "/rubbish": lambda handler: handler.wfile.write(b"what\r\n\r\n"),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        ROUTES.get(self.path, lambda handler: handler.send_error(404))(self)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    """Address of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch, tmp_path):
    """Whatever the machine's settings: nothing goes out, nothing is left in a home folder."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "weights.safetensors"


def fetch(url, path, progress=None):
    return fetch_weights("densemarks", path, url, progress, allow_local_http=True)


def error_of(url, path):
    """The refusal, one line; an older file stays as it was and nothing else is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in (None, b"old"):
        if old:
            path.write_bytes(old)
        with pytest.raises(DownloadError) as caught:
            fetch(url, path)
        assert [entry.read_bytes() for entry in path.parent.iterdir()] == ([old] if old else [])
    error = caught.value
    assert str(error) == f"{error.url}: {error.reason}; {error.remedy}"
    assert "\n" not in str(error)
    assert "\r" not in str(error)
    assert "Traceback" not in str(error)
    return error.reason


@pytest.mark.parametrize("route", ["/weights", "/unsized", "/moved", "/twice"])
def test_fetches_the_file(server, path, route):
    found = fetch(server + route, path)
    assert path.read_bytes() == WEIGHTS
    assert (found.path, found.size, found.sha256) == (path, len(WEIGHTS), DIGEST)
    assert found.origin == PUBLIC_WEIGHTS["densemarks"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_an_older_file_is_replaced(server, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    fetch(server + "/weights", path)
    assert path.read_bytes() == WEIGHTS
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("route", "total"), [("/weights", len(WEIGHTS)), ("/unsized", None)])
def test_tells_how_far_it_is(server, path, monkeypatch, route, total):
    monkeypatch.setattr(download, "_CHUNK", 1000)
    calls = []
    fetch(server + route, path, lambda *args: calls.append(args))
    assert [size for size, _ in calls] == [*range(1000, len(WEIGHTS), 1000), len(WEIGHTS)]
    assert {call[1] for call in calls} == {total}
    assert path.read_bytes() == WEIGHTS


def test_an_error_of_the_caller_leaves_nothing(server, path):
    def stop(size, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server + "/weights", path, stop)
    assert list(path.parent.iterdir()) == []


def test_by_default_it_goes_to_the_cache(server, tmp_path, monkeypatch):
    expected = tmp_path / "cache" / "headmvs" / "densemarks.safetensors"
    assert cached_path("densemarks") == expected
    assert fetch(server + "/weights", None).path == expected
    assert expected.read_bytes() == WEIGHTS
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cached_path("a") == tmp_path / ".cache" / "headmvs" / "a.safetensors"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cached_path("a") == tmp_path / ".cache" / "headmvs" / "a.safetensors"


def state_digest(monkeypatch, url, digest):
    origin = replace(PUBLIC_WEIGHTS["densemarks"], url=url, sha256=digest)
    monkeypatch.setitem(PUBLIC_WEIGHTS, "densemarks", origin)
    return origin


def test_the_stated_digest_must_be_met(server, path, monkeypatch):
    origin = state_digest(monkeypatch, server + "/weights", DIGEST)
    assert fetch(None, path).origin == origin
    path.unlink()
    other = hashlib.sha256(b"other").hexdigest()
    state_digest(monkeypatch, server + "/weights", other)
    assert error_of(None, path) == f"SHA-256 is {DIGEST}, not {other}"


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        ("/short", f"broke off after {len(WEIGHTS) - 5} of {len(WEIGHTS)} bytes"),
        ("/cut", "not a safetensors file ("),
        ("/cut-unsized", "not a safetensors file ("),
        ("/long", "not a safetensors file ("),
        ("/empty", "not a safetensors file ("),
        ("/page", "not a safetensors file ("),
        ("/chunked", "broke off ("),
        ("/absent", "the server answers 404 Not Found"),
        ("/forbidden", "the server answers 403 Forbidden"),
        ("/broken", "the server answers 500 Internal Server Error"),
        ("/silent", "cannot be reached ("),
        ("/to-file", "the server answers 302 Found"),
        ("/two words", "cannot be reached ("),
    ],
)
def test_anything_else_is_refused(server, path, route, reason):
    assert error_of(server + route, path).startswith(reason)


def test_redirections_out_of_https_are_refused(server, path):
    assert error_of(server + "/to-plain-http", path) == "not an https address"


def test_refused_redirections_close_the_connection(server, path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        error_of(server + "/to-plain-http", path)
        gc.collect()
    assert caught == []


@pytest.mark.parametrize("route", ["/loop", "/rubbish"])
def test_errors_are_one_line(server, path, route):
    error_of(server + route, path)


@pytest.mark.parametrize("place", ["/to-nonsense", "/déjà"])
def test_addresses_that_cannot_be_read(server, path, place):
    error_of(server + place, path)


def test_an_address_that_is_none(path):
    error_of("https://[nonsense", path)


def test_nobody_answers(path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    assert error_of(f"http://127.0.0.1:{port}/weights", path).startswith("cannot be reached (")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.invalid/weights",
        "http://localhost/weights",
        "http://127.0.0.1.example.invalid/weights",
        "http://127.0.0.1@example.invalid/weights",
        "ftp://127.0.0.1/weights",
        "file:///etc/hostname",
        "/etc/hostname",
        "weights",
    ],
)
def test_only_https_is_trusted(path, url):
    assert error_of(url, path) == "not an https address"


def test_plain_http_is_for_tests_only(server, path):
    with pytest.raises(DownloadError, match="not an https address"):
        fetch_weights("densemarks", path, server + "/weights")
    assert not path.exists()


def test_places_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "file" / "weights"):
        with pytest.raises(DownloadError) as caught:
            fetch(server + "/weights", path)
        assert caught.value.reason.startswith(f"cannot write {path} (")
        assert "--output" in caught.value.remedy
        assert "\n" not in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_full_disk_is_told_apart_from_a_broken_connection(server, path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("calib.files.os.fsync", full)
    reason = error_of(server + "/weights", path)
    assert reason == f"cannot write {path} (No space left on device)"


def test_unknown_names_are_refused(path):
    with pytest.raises(ValueError, match="weights must be one of densemarks, got 'compact'"):
        fetch_weights("compact", path)


def test_public_weights_state_where_they_come_from():
    for weights in PUBLIC_WEIGHTS.values():
        assert weights.url.startswith("https://")
        assert weights.licence
        assert weights.source
