"""Damaged camera files: what ``python -m tests.calib.fuzz`` makes of some hundred of every kind.

Each is read, or refused in one line, within bounds of time and memory and without a file being
written. The process holds itself to the bounds, so run it as one of its own.
"""

import contextlib
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calib.capture import CaptureError
from calib.formats import FORMATS, read_capture
from tests.calib.captures import OPENCV, PINHOLE, RADIAL, make_capture

N_INPUTS = 520
SECONDS, MEGABYTES = 5, 500
LENSES = {"middlebury": PINHOLE, "mvsnet": PINHOLE, "bundler": RADIAL}
KINDS = (
    "colmap",
    "colmap text",
    "opencv per camera",
    *(name for name in FORMATS if name != "colmap"),
)

NUMBERS = (
    *(b"nan", b"inf", b"-inf", b"-1", b"0", b"-0.0", b"1e308", b"-1e308", b"1e-308", b"1e999"),
    *(b"", b"x", b"0x10", b"1_0", b"1.5", b"true", b"null", b'"1"', b"1e15", b"1e16", b"1,5"),
    *(b"2147483648", b"-9223372036854775808", b"18446744073709551615", b"9" * 400, b"9" * 5000),
    *(b"[1]", b"{}", "\u0661".encode(), b"1 2", b"*a", b"&a", b"!!int 3", b"&lt;", b"\\u0000"),
)
NAMES = (
    *(b"../x", b"../../etc/passwd", b"/abs", b"/etc/passwd", b"C:\\x", b"..\\x", b"a/../b", b""),
    *(b".", b"..", b"/", b"./", b"a//b", b"CON", b"~", b"x" * 300, b"x" * 5000, b"x/" * 900),
    *(b"\x01", b"a\nb", b"a\tb", b"\x7f", b"\xff\xfe", b"\xed\xa0\x80", b"a\0b", b"\\u0000"),
    *(b"\\ud800", b"&#0;", b"&#10;", b"&lt;", b"%s", b"{}", "é\u202e".encode(), b"images", b" "),
)
NESTED = (
    *(b"[" * 100_000, b"{" * 100_000, b'{"a":' * 50_000, b"- " * 20_000, b"<a>" * 50_000),
    *(b"a: {" * 5_000, b"? " * 5_000, b"[" * 900, b'{"a":' * 900, b"(" * 100_000),
)
INTEGERS = (0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**60, 2**63 - 1, 2**63, 2**64 - 1)
DOUBLES = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e308, -1e308, 1e-308, 1e15, 1e16, 2.0)
JUNK = (b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x1b[31m", b"\r", b"\x0b", b"\x85", b"\t")


def spans(data: bytes, pattern: bytes, rng: np.random.Generator, n: int) -> list[tuple[int, int]]:
    """Up to n places of a pattern, from the last to the first."""
    found = [match.span() for match in re.finditer(pattern, data)]
    chosen = rng.choice(len(found), min(n, len(found)), replace=False) if found else []
    return sorted((found[index] for index in chosen), reverse=True)


def replaced(data: bytes, places: list[tuple[int, int]], values: list[bytes]) -> bytes:
    for (start, end), value in zip(places, values, strict=True):
        data = data[:start] + value + data[end:]
    return data


def truncated(data, rng):
    return data[: rng.integers(len(data))]


def bits_flipped(data, rng):
    changed = bytearray(data)
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def bytes_replaced(data, rng):
    changed = bytearray(data)
    for at in rng.integers(len(data), size=rng.integers(1, 17)):
        changed[at] = rng.integers(256)
    return bytes(changed)


def chunk_moved(data, rng):
    """A stretch deleted, repeated, repeated often, or two of them exchanged."""
    a, b, c, d = sorted(rng.integers(len(data) + 1, size=4).tolist())
    return (
        data[:a] + data[b:],
        data[:b] + data[a:b] + data[b:],
        data[:a] + data[a : a + 20] * int(rng.integers(2, 2000)) + data[a:],
        data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:],
    )[rng.integers(4)]


def line_moved(data, rng):
    """A line deleted, repeated, or two of them exchanged."""
    lines = data.split(b"\n")
    a, b = rng.integers(len(lines), size=2).tolist()
    return b"\n".join(
        (
            lines[:a] + lines[a + 1 :],
            [*lines[:a], lines[b], *lines[a:]],
            [lines[b] if i == a else lines[a] if i == b else line for i, line in enumerate(lines)],
            lines[:a] + [b""] * int(rng.integers(1, 5000)) + lines[a:],
        )[rng.integers(4)]
    )


def number_replaced(data, rng):
    pattern = rb"(?<![\w.])[-+]?[0-9][0-9.e+-]*"
    places = spans(data, pattern, rng, int(rng.choice([1, 1, 1, 3, 1000])))
    value = NUMBERS[rng.integers(len(NUMBERS))]
    return replaced(data, places, [value] * len(places))


def name_replaced(data, rng):
    places = spans(data, rb"(images/)?0[0-9](\.png)?", rng, int(rng.choice([1, 1, 2])))
    return replaced(data, places, [NAMES[rng.integers(len(NAMES))] for _ in places])


def word_replaced(data, rng):
    """A key, tag or keyword, by another of the file or by junk."""
    places = spans(data, rb"[A-Za-z_]{1,}", rng, 2)
    if len(places) < 2:
        return data + b"x"
    (a, b), (c, d) = places
    return replaced(data, places, [data[c:d], [data[a:b], b"x", b""][rng.integers(3)]])


def nested(data, rng):
    at = rng.choice([0, len(data), rng.integers(len(data))])
    return data[:at] + NESTED[rng.integers(len(NESTED))] + data[at:]


def junk_inserted(data, rng):
    at = rng.integers(len(data) + 1)
    return data[:at] + JUNK[rng.integers(len(JUNK))] * int(rng.integers(1, 9)) + data[at:]


def encoded_otherwise(data, rng):
    """A byte order mark, other line ends, another encoding, or nothing at all."""
    text = data.decode("latin-1")
    return (
        b"\xef\xbb\xbf" + data,
        data.replace(b"\n", b"\r\n"),
        data.replace(b"\n", b"\r"),
        text.encode("utf-16"),
        text.encode("utf-32"),
        b"",
        b"\n",
        data + data,
        data.upper(),
    )[rng.integers(9)]


def field_replaced(data, rng):
    """A count, number or coordinate of a binary file."""
    kind, values = [("<u8", INTEGERS), ("<u4", INTEGERS), ("<f8", DOUBLES)][rng.integers(3)]
    value = values[rng.integers(len(values))]
    word = np.array(value if kind == "<f8" else value % (1 << 32 if kind == "<u4" else 1 << 64))
    # Counts are where the file or an entry starts.
    at = 0 if rng.random() < 0.1 else int(rng.integers(max(1, len(data) - 8)))
    return data[:at] + word.astype(kind).tobytes() + data[at + word.astype(kind).itemsize :]


ANY = (truncated, bits_flipped, bytes_replaced, chunk_moved, junk_inserted, encoded_otherwise)
TEXT = (*ANY, line_moved, number_replaced, number_replaced, name_replaced, word_replaced, nested)
BINARY = (*ANY, field_replaced, field_replaced, field_replaced, name_replaced)


def prepare(kind: str, folder: Path) -> list[Path]:
    """A sound capture of a kind; its camera files."""
    name = kind.partition(" ")[0]
    truth = make_capture(folder, LENSES.get(name, OPENCV), n=3)
    FORMATS[name].write(folder, truth)
    if kind == "colmap text":
        import pycolmap

        model = folder / "sparse" / "0"
        pycolmap.Reconstruction(model).write_text(model)
        for path in model.glob("*.bin"):
            path.unlink()
    if kind == "opencv per camera":
        separate(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in files if path.parent.name != "images"]


def separate(folder: Path) -> None:
    """A file per camera of ``intri.yml`` and ``extri.yml``."""
    text = (folder / "intri.yml").read_text() + (folder / "extri.yml").read_text()
    names = {"K": "camera_matrix", "dist": "D", "Rot": "R", "T": "T", "W": "image_width"}
    for camera in ("00", "01", "02"):
        entries = re.findall(rf"^(\w+)_{camera}:((?:.|\n   )*)", text, re.MULTILINE)
        lines = [f"{names.get(key, 'image_height')}:{value}\n" for key, value in entries]
        (folder / f"{camera}.yml").write_text("%YAML:1.0\n---\n" + "".join(lines))
    for name in ("intri.yml", "extri.yml"):
        (folder / name).unlink()


def damaged(kind: str, files: list[Path], n: int) -> Iterator[str]:
    """Damage one of the files at a time; the files are sound again in the end."""
    rng = np.random.default_rng(5)
    changes = BINARY if kind == "colmap" else TEXT
    for index in range(n):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        change = changes[index % len(changes)]
        path.write_bytes(change(whole, rng))
        yield f"{index} {change.__name__} {path.name}"
        path.write_bytes(whole)


def check(folder: Path) -> bool:
    """Whether the capture is read; what is read is sound, what is refused is so in one line."""
    try:
        capture = read_capture(folder)
    except CaptureError as error:
        if not str(error).isprintable() or len(str(error)) > 4000:
            raise ValueError(f"not a line: {str(error)[:200]!r}") from error
        return False
    if not all(line.isprintable() for line in capture.warnings):
        raise ValueError(f"not a line each: {capture.warnings}")
    if not np.isfinite(capture.points).all():
        raise ValueError("points")
    for view in capture.views:
        camera = view.camera
        if not all(np.isfinite(a).all() for a in (camera.P, camera.center, camera.params)):
            raise ValueError("camera")
        if len(view.point_ids) and not 0 <= view.point_ids.min() <= view.point_ids.max() < len(
            capture.points
        ):
            raise ValueError("point ids")
        if view.observed is not None and view.observed.shape != (len(view.point_ids), 2):
            raise ValueError("observed")
        camera.project(capture.points)
        if folder not in view.image_path.parents:
            raise ValueError(f"a picture outside of the capture: {view.image_path}")
    with contextlib.suppress(CaptureError):  # pictures of another size, say
        capture.views[0].load_pinhole()
    return True


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
FORBIDDEN = {
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod"),
    *("os.truncate", "os.system", "os.exec", "os.fork", "subprocess.Popen", "socket.connect"),
    *("pickle.find_class", "exec", "compile"),
}


class Guard:
    """Nothing is written, run or waited for while it is on."""

    is_on = False

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_on:
            return
        if event in FORBIDDEN or (event == "open" and int(arguments[2]) & WRITES):
            self.is_on = False
            raise PermissionError(f"{event} {arguments}")

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        self.is_on = True

    def __exit__(self, *_: object) -> None:
        self.is_on = False
        signal.setitimer(signal.ITIMER_PROF, 0)


def stop(*_: object) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def status_mb(field: str) -> float:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s*(\d+)", text)[1]) / 1024


def fuzz(kind: str, guard: Guard, n: int) -> dict[str, object]:
    """What became of n damaged captures of a kind."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "capture"
        files = prepare(kind, folder)
        if not check(folder):
            raise ValueError(f"the sound capture of {kind} is refused")
        Path("/proc/self/clear_refs").write_text("5")
        before, slowest, accepted, failures = status_mb("VmRSS"), 0.0, 0, []
        for what in damaged(kind, files, n):
            start = time.process_time()
            try:
                with guard:
                    accepted += check(folder)
            except Exception as error:  # noqa: BLE001
                failures.append(f"{kind}: {what}: {type(error).__name__}: {error}"[:400])
            slowest = max(slowest, time.process_time() - start)
        return {
            "kind": kind,
            "inputs": n,
            "refused": n - accepted - len(failures),
            "accepted": accepted,
            "slowest": round(slowest, 3),
            "peak_mb": round(status_mb("VmHWM") - before, 1),
            "failures": failures,
        }


def main() -> None:
    import cv2

    cv2.setNumThreads(1)
    warnings.simplefilter("error")
    guard = Guard()
    # What is loaded once is not the readers' memory.
    for kind in KINDS:
        fuzz(kind, guard, 0)
    limit = int((status_mb("VmSize") + MEGABYTES) * (1 << 20))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, stop)
    sys.addaudithook(guard.audit)
    few = "--few" in sys.argv
    n_inputs = N_INPUTS // 4 if few else N_INPUTS
    rows = [fuzz(kind, guard, n_inputs // (4 if "per" in kind else 1)) for kind in KINDS]
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(rows))
        return
    print("| format | inputs | refused | accepted | slowest, s | peak, MB |")
    for row in rows:
        print("|", " | ".join(str(value) for value in list(row.values())[:6]), "|")
        print("\n".join(row["failures"]), end="\n" if row["failures"] else "")
    print(f"{time.process_time():.1f} CPU seconds in all")


if __name__ == "__main__":
    main()
