"""``cameras.xml`` of Agisoft Metashape (File, Export, Export Cameras).

A camera's transform is world_from_cam in its chunk, with this project's axes; a similarity of the
chunk, or of each of its components, takes the chunk to its reference system. That is applied where
the reference is local. Where it is geographic, the system is the Earth's, millions of metres away:
then only the scale is applied, and the unit is the metre. Labels are names of pictures, mostly
without their ending. Lenses are ``calib.metashape_lens``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from calib.calibration import (
    CalibratedImage,
    Calibration,
    DamagedError,
    checked_size,
    inverted,
    number,
    numbers,
    read_text,
    rigid,
    some_names,
)
from calib.capture import Capture
from calib.files import replacing
from calib.metashape_lens import (
    NAMES,
    MetashapeLens,
    lens_from_metashape,
    metashape_from_lens,
)

DoubleArray = npt.NDArray[np.float64]

FILE_NAME = "cameras.xml"
_VERSION = "1.5.0"
# A camera takes a kilobyte; a tree takes some thirty times its text.
_LARGEST = 1 << 24
_DECLARATION = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_LOCAL = ("LOCAL", "ENG")


@dataclass(frozen=True, eq=False)
class _Similarity:
    """x -> scale * rotation @ x + translation."""

    rotation: DoubleArray
    translation: DoubleArray
    scale: float

    def of_pose(self, pose: DoubleArray) -> DoubleArray:
        """A (3, 4) world_from_cam in the other world."""
        moved = self.scale * self.rotation @ pose[:, 3] + self.translation
        return np.column_stack([self.rotation @ pose[:, :3], moved])

    def without_frame_of(self, base: _Similarity) -> _Similarity:
        """From here into the chunk of ``base``, in the unit of the reference system."""
        back = base.rotation.T
        moved = back @ (self.translation - base.translation)
        return _Similarity(back @ self.rotation, moved, self.scale)


_IDENTITY = _Similarity(np.eye(3), np.zeros(3), 1.0)


def find_metashape(path: Path) -> Path | None:
    """A folder's ``cameras.xml`` or first other XML file with sensors, or ``path`` itself."""
    if path.is_file():
        return path if path.suffix.lower() == ".xml" and _has_chunk(path) else None
    named = path / FILE_NAME
    return next((file for file in (named, *sorted(path.glob("*.xml"))) if _has_chunk(file)), None)


def read_metashape(path: Path) -> Calibration:
    """Read a ``cameras.xml``.

    Raises:
        DamagedError: if it makes no sense.
    """
    chunk, warnings = _chunk(_document(path))
    cameras = list(chunk.iterfind("cameras//camera"))
    used = [c for c in cameras if _text(c, "transform") and c.get("enabled") not in ("0", "false")]
    for what, left in (
        ("disabled", [c for c in cameras if c.get("enabled") in ("0", "false")]),
        ("not aligned", [c for c in cameras if not _text(c, "transform")]),
    ):
        if left:
            labels = some_names([camera.get("label", "") for camera in left])
            warnings.append(f"{len(left)} cameras left out, {what}: {labels}")
    worlds, unit, notes = _worlds(chunk, Counter(c.get("component_id", "") for c in used))
    used = [camera for camera in used if camera.get("component_id", "") in worlds]
    sensors = {sensor.get("id", ""): sensor for sensor in chunk.iterfind("sensors/sensor")}
    lenses = {
        key: _lens(sensors[key])
        for key in sorted({camera.get("sensor_id", "") for camera in used})
        if key in sensors
    }
    warnings += notes
    for key, (lens, _) in lenses.items():
        if lens.is_worth_a_warning:
            warnings.append(
                f"sensor {key!r} has k4, which is fitted; off by {lens.fit_px:.2f} px at worst"
            )
    images = [_image(camera, lenses, worlds) for camera in used]
    folders = (path.parent / "images", path.parent)
    return Calibration(tuple(images), folders, unit=unit, warnings=tuple(warnings))


def write_metashape(folder: Path, capture: Capture) -> Path:
    """Write a capture's ``cameras.xml``; returns its path.

    Raises:
        ValueError: if a lens is none of Metashape's, or two pictures differ by their ending alone.
    """
    document = ET.Element("document", version=_VERSION)
    chunk = ET.SubElement(document, "chunk", label="Chunk 1", enabled="true")
    sensors = ET.SubElement(chunk, "sensors")
    cameras = ET.SubElement(chunk, "cameras")
    keys: dict[tuple[object, ...], str] = {}
    labels = set()
    for index, view in enumerate(capture.views):
        kind, said = metashape_from_lens(view.camera, view.name)
        size = (view.camera.width, view.camera.height)
        lens = (kind, size, *said.items())
        if lens not in keys:
            keys[lens] = str(len(keys))
            _add_sensor(sensors, keys[lens], kind, size, said)
        label = view.name.rpartition(".")[0] or view.name
        if label in labels:
            raise ValueError(f"{view.name}: another picture has this name but for its ending")
        labels.add(label)
        attributes = {"id": str(index), "sensor_id": keys[lens], "label": label, "enabled": "true"}
        camera = ET.SubElement(cameras, "camera", attributes)
        pose = [*inverted(view.camera.cam_from_world).ravel(), 0, 0, 0, 1]
        transform = ET.SubElement(camera, "transform")
        transform.text = " ".join(repr(float(value)) for value in pose)
    ET.indent(document)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE_NAME) as file:
        file.write(ET.tostring(document, "utf-8", xml_declaration=True) + b"\n")
    return folder / FILE_NAME


def _has_chunk(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return b"<document" in head and b"<chunk" in head


def _document(path: Path) -> ET.Element:
    text = read_text(path, _LARGEST)
    if _DECLARATION.search(text):
        raise DamagedError("declares a DOCTYPE or an ENTITY, which Metashape never writes")
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise DamagedError(f"no XML: {error}") from None


def _chunk(document: ET.Element) -> tuple[ET.Element, list[str]]:
    """The first chunk with an aligned camera, and a warning where there are more."""
    chunks = document.findall("chunk")
    aligned = [
        chunk
        for chunk in chunks
        if any(_text(camera, "transform") for camera in chunk.iterfind("cameras//camera"))
    ]
    if not aligned:
        raise DamagedError(f"has {len(chunks)} chunks, none with an aligned camera")
    name = aligned[0].get("label", "")
    return aligned[0], (
        [f"{len(chunks)} chunks, the first aligned one is taken: {name!r}"]
        if len(chunks) > 1
        else []
    )


def _worlds(
    chunk: ET.Element, used: Counter[str]
) -> tuple[dict[str, _Similarity], str | None, list[str]]:
    """What takes the cameras of each component to the world, the unit, and what was left out."""
    own = chunk.find("transform")
    found = {key: _IDENTITY if own is None else _similarity(own) for key in used}
    known = set(used) if own is not None else set()
    for component in chunk.iterfind("components/component"):
        transform = component.find("transform")
        if transform is not None and component.get("id", "") in used:
            found[component.get("id", "")] = _similarity(transform)
            known.add(component.get("id", ""))
    notes: list[str] = []
    if not used:
        return found, None, notes
    base = max(sorted(used), key=lambda key: used[key])
    if len(used) > 1 and len(known) < len(used):
        left = used.total() - used[base]
        notes.append(f"{left} cameras left out, of components without a common transform")
        found = {base: found[base]}
    reference = " ".join((_text(chunk, "reference") or "LOCAL").split())
    if reference.upper().startswith(_LOCAL) or base not in known:
        return found, None, notes
    system = reference.partition('"')[2].partition('"')[0][:60]
    notes.append(
        f"the reference is geographic ({system!r}): only the scale is applied, not its place "
        "on the Earth; the unit is m"
    )
    return {key: one.without_frame_of(found[base]) for key, one in found.items()}, "m", notes


def _similarity(transform: ET.Element) -> _Similarity:
    rotation = numbers((_text(transform, "rotation") or "1 0 0 0 1 0 0 0 1").split(), 9, "rotation")
    translation = numbers((_text(transform, "translation") or "0 0 0").split(), 3, "translation")
    scale = number(_text(transform, "scale") or 1.0, "scale")
    if not 1e-12 < scale < 1e12:
        raise DamagedError(f"the chunk's scale is {scale:g}")
    pose = rigid(rotation, translation, "the chunk")
    return _Similarity(pose[:, :3], pose[:, 3], scale)


def _lens(sensor: ET.Element) -> tuple[MetashapeLens, tuple[int, int]]:
    name = sensor.get("label", sensor.get("id", ""))
    found = sensor.findall("calibration")
    adjusted = [entry for entry in found if entry.get("class") == "adjusted"]
    if not found:
        raise DamagedError(f"sensor {name!r} has no calibration")
    calibration = (adjusted or found)[0]
    resolution = calibration.find("resolution")
    resolution = sensor.find("resolution") if resolution is None else resolution
    if resolution is None:
        raise DamagedError(f"sensor {name!r} has no resolution")
    size = checked_size((resolution.get("width", "0"), resolution.get("height", "0")), name)
    texts = {key: _text(calibration, key) for key in NAMES}
    said = {key: number(text, f"{key} of {name!r}") for key, text in texts.items() if text}
    kind = calibration.get("type", sensor.get("type", "frame"))
    return lens_from_metashape(kind, said, size, name), size


def _image(
    camera: ET.Element,
    lenses: dict[str, tuple[MetashapeLens, tuple[int, int]]],
    worlds: dict[str, _Similarity],
) -> CalibratedImage:
    name = camera.get("label", "").replace("\\", "/")
    if re.match("/|[A-Za-z]:", name):
        # The path on the machine that aligned the pictures.
        name = name.rpartition("/")[2]
    key = camera.get("sensor_id", "")
    if key not in lenses:
        raise DamagedError(f"camera {name!r} refers to sensor {key!r}, which is not there")
    lens, size = lenses[key]
    values = numbers((_text(camera, "transform") or "").split(), 16, f"transform of {name!r}")
    pose = rigid(values.reshape(4, 4)[:3, :3], values.reshape(4, 4)[:3, 3], name)
    world_from_cam = worlds[camera.get("component_id", "")].of_pose(pose)
    return CalibratedImage(name, lens.model, lens.params, inverted(world_from_cam), size)


def _add_sensor(
    sensors: ET.Element,
    key: str,
    kind: str,
    size: tuple[int, int],
    said: dict[str, float],
) -> None:
    resolution = {"width": str(size[0]), "height": str(size[1])}
    sensor = ET.SubElement(sensors, "sensor", id=key, label=f"sensor {key}", type=kind)
    ET.SubElement(sensor, "resolution", resolution)
    calibration = ET.SubElement(sensor, "calibration", {"type": kind, "class": "adjusted"})
    ET.SubElement(calibration, "resolution", resolution)
    for name, value in said.items():
        ET.SubElement(calibration, name).text = repr(value)


def _text(element: ET.Element, name: str) -> str | None:
    return (element.findtext(name) or "").strip() or None
