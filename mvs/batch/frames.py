"""Which frames there are, and where their pictures lie: patterns, folders of frames, captures."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from calib.calibration import some_names
from calib.capture import CaptureError
from calib.pictures import PictureFolder
from mvs.batch.rig import Rig

_FIELDS = ("camera", "frame")


@dataclass(frozen=True)
class Frame:
    """One moment: the unit of work.

    Attributes:
        number: of the frame.
        pictures: on disk, by the name of their image in the calibration.
        masks: on disk, likewise; may be empty.
        capture: folder of a capture with cameras of its own, instead of all that; None without.
        cube_maps: folder of its precomputed cube maps, None without.
        after: name of the frame whose surface it starts from, None for none.
    """

    number: int
    pictures: Mapping[str, Path] = field(default_factory=dict)
    masks: Mapping[str, Path] = field(default_factory=dict)
    capture: Path | None = None
    cube_maps: Path | None = None
    after: str | None = None

    @property
    def name(self) -> str:
        """Of its folder in the results."""
        return f"{self.number:06d}"


@dataclass(frozen=True)
class Found:
    """The frames, in order, and what the user should know of them, a line each."""

    frames: tuple[Frame, ...]
    warnings: tuple[str, ...] = ()


def in_chains(frames: Sequence[Frame], length: int) -> tuple[Frame, ...]:
    """Frames of which each starts from the one before it, but for the first of each chain.

    A chain begins at every multiple of ``length``, and with the first frame that is asked for: ask
    for whole chains, or what is done of one is done again.

    Raises:
        ValueError: if the length is less than 1.
    """
    if length < 1:
        raise ValueError(f"--chain must be at least 1, got {length}")
    found = []
    for _, group in groupby(frames, lambda frame: frame.number // length):
        before: str | None = None
        for frame in group:
            found.append(replace(frame, after=before))
            before = frame.name
    return tuple(found)


class Pattern:
    """File names with ``{camera}`` and ``{frame}``, the latter with a format as ``{frame:06d}``.

    Attributes:
        text: the pattern from the root on: workers may have another working directory.
    """

    def __init__(self, text: str, fields: Sequence[str] = _FIELDS) -> None:
        """Read a pattern that must have the ``fields``.

        Raises:
            ValueError: if it has others, or not those.
        """
        folder = Path.cwd().as_posix().replace("{", "{{").replace("}", "}}")
        self.text = Path(folder, text).as_posix()
        try:
            self._parts = list(string.Formatter().parse(self.text))
            names = {name for _, name, _, _ in self._parts if name is not None}
            self.text.format(camera="", frame=0)
        except (ValueError, LookupError, AttributeError) as error:
            raise ValueError(f"{text}: not a pattern ({error}); {_example(fields)}") from None
        if names != set(fields):
            raise ValueError(f"{text}: {_example(fields)}")

    def path(self, camera: str, frame: int) -> Path:
        """The file of a camera and a frame."""
        return Path(self.text.format(camera=camera, frame=frame))

    def find(self) -> dict[tuple[str, int], Path]:
        """The files there are, by camera and frame (the one that the pattern lacks is "" or 0).

        Raises:
            ValueError: if two files have one camera and frame.
        """
        found: dict[tuple[str, int], Path] = {}
        expression = re.compile("".join(self._expression()))
        for path in _glob(self.text, "".join(self._wildcards())):
            match = expression.fullmatch(path.as_posix())
            if match is None:
                continue
            groups = match.groupdict()
            key = groups.get("camera", ""), int(groups.get("frame", 0))
            if key in found:
                raise ValueError(f"{path}: the same camera and frame as {found[key]}; remove one")
            found[key] = path
        return found

    def _wildcards(self) -> list[str]:
        return [
            re.sub(r"([*?[])", r"[\1]", text) + ("" if name is None else "*")
            for text, name, _, _ in self._parts
        ]

    def _expression(self) -> list[str]:
        parts, seen = [], set()
        for text, name, spec, _ in self._parts:
            parts.append(re.escape(text))
            if name is None:
                continue
            width = re.search(r"[1-9]\d*", spec or "")
            kind = "[^/]+" if name == "camera" else f"\\d{{{width[0] if width else 1},}}"
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{kind})")
            seen.add(name)
        return parts


def select(numbers: Sequence[int], wanted: str | None) -> list[int]:
    """The frames that a text such as ``0:100:2`` or ``3,5,10:20`` names, ascending.

    Args:
        numbers: of the frames there are, ascending.
        wanted: single numbers and ranges first:end:step, the end left out; those without an end
            go to the last frame there is. All frames if None.

    Returns:
        Numbers; those that are named one by one or with an end may be of frames that are not there.

    Raises:
        ValueError: if the text is no such list, or names nothing.
    """
    if wanted is None:
        return list(numbers)
    chosen: set[int] = set()
    for span in _spans(wanted):
        end = max(numbers, default=-1) + 1 if span.stop is None else span.stop
        chosen.update(range(span.start, end, span.step))
    if not chosen:
        raise ValueError(f"--frames {wanted} names no frame")
    return sorted(chosen)


def is_selected(number: int, wanted: str | None) -> bool:
    """Whether a text as for ``select`` names a frame, however many there are.

    Raises:
        ValueError: if it is no such text.
    """
    return wanted is None or any(
        number >= span.start
        and (span.stop is None or number < span.stop)
        and (number - span.start) % span.step == 0
        for span in _spans(wanted)
    )


def _spans(wanted: str) -> list[slice]:
    spans = []
    for part in wanted.split(","):
        if not re.fullmatch(r"\d+|\d*:\d*(:[1-9]\d*)?", part.strip()):
            raise ValueError(
                f"--frames: {part!r} is neither a number nor first:end or first:end:step"
            )
        first, *rest = part.strip().split(":")
        start = int(first or 0)
        if rest:
            end = int(rest[0]) if rest[0] else None
            spans.append(slice(start, end, int(rest[1]) if len(rest) > 1 else 1))
        else:
            spans.append(slice(start, start + 1, 1))
    return spans


def find_by_pattern(
    rig: Rig, images: Pattern, masks: Pattern | None = None, wanted: str | None = None
) -> Found:
    """The frames whose pictures a pattern names.

    Args:
        rig: of the cameras.
        images: of the pictures.
        masks: of their masks.
        wanted: which frames, see ``select``.

    Raises:
        ValueError: if there are no pictures, or none of the rig's cameras.
    """
    files = images.find()
    if not files:
        raise ValueError(f"{images.text}: no such files; check the pattern")
    image_of, warnings = rig.match(sorted({camera for camera, _ in files}), images.text)
    covers = {} if masks is None else masks.find()
    if masks is not None and not covers:
        raise ValueError(f"{masks.text}: no such files; check the pattern, or leave --masks out")
    names: dict[int, dict[str, str]] = {}
    for camera, number in sorted(files):
        if camera in image_of:
            names.setdefault(number, {})[image_of[camera]] = camera
    frames = []
    for number in select(sorted(names), wanted):
        cameras = names.get(number, {})
        pictures = {image: files[camera, number] for image, camera in cameras.items()}
        kept = {i: covers[c, number] for i, c in cameras.items() if (c, number) in covers}
        frames.append(Frame(number, pictures, kept))
    bare = [f.name for f in frames if f.masks and len(f.masks) < len(f.pictures)]
    bare += [f.name for f in frames if covers and f.pictures and not f.masks]
    if bare:
        warnings = (*warnings, f"{len(bare)} frames lack masks: {some_names(sorted(bare))}")
    return Found(tuple(frames), warnings)


def find_by_folder(rig: Rig, folder: Path, wanted: str | None = None) -> Found:
    """The frames that are folders: ``frame_0001/images``, ``frame_0001/masks`` and so on.

    Args:
        rig: of the cameras.
        folder: holds a folder a frame, the last number in whose name is the frame's; the pictures
            lie in its ``images``, or in itself.
        wanted: which frames, see ``select``.

    Raises:
        ValueError: if there are no such folders, or two of one number.
    """
    folders: dict[int, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        digits = re.findall(r"\d+", path.name)
        if not digits:
            continue
        if int(digits[-1]) in folders:
            raise ValueError(f"{path}: the same frame as {folders[int(digits[-1])]}; remove one")
        folders[int(digits[-1])] = path
    if not folders:
        raise ValueError(
            f"{folder}: holds no numbered folders; give a pattern with {{camera}} and {{frame}}"
        )
    frames = []
    for number in select(sorted(folders), wanted):
        there = number in folders
        frames.append(_frame_of(rig, number, folders[number]) if there else Frame(number))
    if not any(frame.pictures for frame in frames):
        shown = some_names([image.name for image in rig.images])
        raise ValueError(
            f"{folder}: none of its frames holds pictures of the calibration's names: {shown}"
        )
    return Found(tuple(frames))


def _frame_of(rig: Rig, number: int, path: Path) -> Frame:
    inner = path / "images"
    shown = PictureFolder(inner if inner.is_dir() else path)
    covers = PictureFolder(path / "masks")
    pictures, masks = {}, {}
    for image in rig.images:
        name = shown.find(image.name)
        if name is None:
            continue
        pictures[image.name] = shown.path / name
        mask = covers.find_mask(name)
        if mask is not None:
            masks[image.name] = mask
    return Frame(number, pictures, masks)


def find_in_list(path: Path, wanted: str | None = None) -> Found:
    """The frames that are captures with cameras of their own, one folder a line of a text file.

    Args:
        path: of the text file; relative folders count from its own.
        wanted: which of them, by their place in the list from 0, see ``select``.

    Raises:
        CaptureError: if the file cannot be read or names nothing.
        ValueError: if none of the wanted ones is in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CaptureError(path, f"cannot be read ({error})", "give a text file") from None
    folders = [path.parent / line.strip() for line in lines if line.strip() and line[0] != "#"]
    if not folders:
        raise CaptureError(path, "names no captures", "write the folder of one on every line")
    chosen = [k for k in select(range(len(folders)), wanted) if k < len(folders)]
    if not chosen:
        raise ValueError(f"--frames {wanted}: {path} names {len(folders)} captures, from 0")
    return Found(tuple(Frame(number, capture=folders[number]) for number in chosen))


def with_cube_maps(frames: Sequence[Frame], maps: Pattern) -> tuple[Frame, ...]:
    """The frames with the folders of their precomputed cube maps, a pattern with ``{frame}``."""
    return tuple(replace(frame, cube_maps=maps.path("", frame.number)) for frame in frames)


def _glob(text: str, wildcards: str) -> list[Path]:
    """The files that match, below the last folder that the pattern names plainly."""
    parts = Path(text).parts
    depth = next(k for k, part in enumerate(parts) if "{" in part)
    root = Path(*parts[:depth])
    return sorted(
        path for path in root.glob(str(Path(*Path(wildcards).parts[depth:]))) if path.is_file()
    )


def _example(fields: Sequence[str]) -> str:
    parts = {"camera": "{camera}", "frame": "{frame:06d}"}
    wanted = " and ".join(parts[name] for name in fields)
    return f"needs {wanted}, as in {'/'.join(parts[name] for name in fields)}.jpg"
