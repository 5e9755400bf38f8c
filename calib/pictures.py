"""Where a calibration's pictures and masks are on disk."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".bmp", ".webp")


class PictureFolder:
    """The pictures below a folder, found by exact name or, where a name has no ending, by stem.

    A name without ending may also be that of a folder which holds one picture: one camera's.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._endings = cache(_endings)

    def find(self, name: str) -> str | None:
        """The name on disk of a picture of a camera file, None where there is none.

        Args:
            name: with forward slashes; its ending may be missing or of another case.
        """
        if (self.path / name).is_file():
            return name
        parent, _, last = name.rpartition("/")
        stem, dot, ending = last.rpartition(".")
        has_ending = bool(dot) and f".{ending.lower()}" in PICTURE_SUFFIXES
        found = self._endings(self.path / parent).get(stem if has_ending else last, ())
        if has_ending:
            found = tuple(f for f in found if f.lower() == f".{ending.lower()}")
        if found:
            return f"{name[: -len(ending) - 1] if has_ending else name}{found[0]}"
        return None if has_ending else self._only_picture(name)

    def _only_picture(self, name: str) -> str | None:
        stems = self._endings(self.path / name)
        inside = [f"{name}/{stem}{ending}" for stem in stems for ending in stems[stem]]
        return inside[0] if len(inside) == 1 else None

    def find_mask(self, name: str) -> Path | None:
        """The mask of a picture in a folder of masks, None without.

        NAME.png, else of the same stem, else of the stem and ``_mask`` or ``.mask``; a PNG goes
        before other endings.
        """
        parent, _, last = name.rpartition("/")
        stem = last.rpartition(".")[0] or last
        endings = self._endings(self.path / parent)
        for wanted in (last, stem, f"{stem}_mask", f"{stem}.mask"):
            for ending in sorted(endings.get(wanted, ()), key=lambda e: (e.lower() != ".png", e)):
                return self.path / parent / f"{wanted}{ending}"
        return None

    def others(self, used: Iterable[Path]) -> list[str]:
        """Names of the pictures in the folder and below it that are not among ``used``, sorted."""
        known = set(used)
        found = (p for p in self.path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
        return sorted(p.relative_to(self.path).as_posix() for p in found if p not in known)


def _endings(folder: Path) -> dict[str, tuple[str, ...]]:
    """The endings of a folder's pictures, by stem."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found[path.stem] = (*found.get(path.stem, ()), path.suffix)
    return found
