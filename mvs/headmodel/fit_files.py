"""A fit as files: ``fit.json``, which people and other programs read, and ``fit.npz``.

``fit.json`` holds, in the frame and unit of the input:

``format``, ``version``
    ``headmvs fit``, 1.
``model``, ``model_unit_m``
    name of the head model, length of its unit in metres.
``unit``
    of the world: m, cm, mm; null where nobody said. Of a picture the world is its camera's frame.
``identity``
    coefficients by name, standard deviations.
``neutral_landmarks``
    68 positions (iBUG) of the person without expression, joints at rest, placed as in frame 0.
``frames``
    one object each: ``world_from_model`` (``scale``, ``rotation`` of 3 rows, ``translation``),
    ``expression`` by name, ``joints`` by name (rotation vectors, radians), ``landmarks`` (68
    positions) and ``cameras``: ``name`` of the picture, ``model`` (COLMAP's), ``width``,
    ``height``, ``params``, ``focal_px`` and ``cam_from_world`` of 3 rows.
``warnings``
    a line each.

``fit.npz`` holds ``identity`` (K,), ``expressions`` (T, E), ``joints`` (T, J, 3), ``scale`` (T,),
``rotation`` (T, 3, 3), ``translation`` (T, 3), all float64, and ``confidence`` (T, V) float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.capture import CaptureError
from calib.files import write_json
from calib.scale import Similarity
from mvs.headmodel.arrays import read_arrays, write_arrays
from mvs.headmodel.types import Fit, HeadModel, Shape
from mvs.types import DoubleArray

FIT_FORMAT, _VERSION = "headmvs fit", 1


def write_fit_files(output: Path, fit: Fit) -> list[Path]:
    """Write ``fit.json`` and ``fit.npz`` into a folder that exists.

    Returns:
        The two files.
    """
    table, document = output / "fit.npz", output / "fit.json"
    places = fit.world_from_model
    write_arrays(
        table,
        {
            "identity": fit.identity,
            "expressions": fit.expressions,
            "joints": fit.joints,
            "scale": np.array([place.scale for place in places]),
            "rotation": np.stack([place.rotation for place in places]),
            "translation": np.stack([place.translation for place in places]),
            "confidence": fit.confidence.astype(np.float32),
        },
    )
    write_json(document, _document(fit))
    return [document, table]


def read_fit(folder: Path, model: HeadModel) -> Fit:
    """Read what ``write_fit_files`` wrote.

    Args:
        folder: with ``fit.json`` and ``fit.npz``.
        model: that was fitted.

    Raises:
        CaptureError: if the files are not those of a fit, or of another model.
    """
    path = folder / "fit.json"
    document = read_document(path)
    try:
        fit = _fit_of(document, read_arrays(folder / "fit.npz"), model)
        kind, names = document["model"], list(document["identity"])
    except KeyError as error:
        raise CaptureError(path, f"not a fit (holds no {error.args[0]})", "fit again") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CaptureError(path, f"not a fit ({error})", "fit again") from None
    n_frames, n = len(fit.cameras), len(model.topology.coords)
    shapes = (
        (n_frames, len(model.expression_names)),
        (n_frames, len(model.joint_names), 3),
        (n_frames, n),
    )
    found = tuple(np.shape(k) for k in (fit.expressions, fit.joints, fit.confidence))
    wanted = list(model.identity_names[: len(fit.identity)])
    if (kind, names, found) != (model.name, wanted, shapes):
        raise CaptureError(path, f"fitted to another model, {kind}", "give that model")
    return fit


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object of ``fit.json``.

    Raises:
        CaptureError: if the file is no fit.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CaptureError(path, f"not readable ({error.strerror})", "give mvs fit's folder") from (
            None
        )
    except ValueError:
        raise CaptureError(path, "not JSON", "fit again") from None
    if not isinstance(document, dict) or document.get("format") != FIT_FORMAT:
        raise CaptureError(path, "not the fit.json of a fit", "give mvs fit's folder")
    if document.get("version") != _VERSION:
        reason = f"of version {document.get('version')}, this program reads {_VERSION}"
        raise CaptureError(path, reason, "fit again")
    return document


def neutral_shape(fit: Fit) -> Shape:
    """The person without expression, joints at rest."""
    rest = fit.model.neutral()
    return Shape(fit.identity, np.zeros_like(rest.expression), np.zeros_like(rest.joints))


def neutral_vertices(fit: Fit) -> DoubleArray:
    """(V, 3) vertices of ``neutral_shape``, placed in the world as frame 0 is."""
    return fit.world_from_model[0].points(fit.model.vertices(neutral_shape(fit)))


def _document(fit: Fit) -> dict[str, Any]:
    model = fit.model
    return {
        "format": FIT_FORMAT,
        "version": _VERSION,
        "model": model.name,
        "model_unit_m": model.unit_m,
        "unit": fit.unit,
        "identity": _named(model.identity_names, fit.identity),
        "neutral_landmarks": model.topology.landmarks_on(neutral_vertices(fit)).tolist(),
        "frames": [_frame(fit, t) for t in range(len(fit.expressions))],
        "warnings": list(fit.warnings),
    }


def _frame(fit: Fit, t: int) -> dict[str, Any]:
    place = fit.world_from_model[t]
    return {
        "world_from_model": {
            "scale": place.scale,
            "rotation": place.rotation.tolist(),
            "translation": place.translation.tolist(),
        },
        "expression": _named(fit.model.expression_names, fit.expressions[t]),
        "joints": _named(fit.model.joint_names, fit.joints[t]),
        "landmarks": fit.model.topology.landmarks_on(fit.vertices(t)).tolist(),
        "cameras": [
            {
                "name": name,
                "model": camera.model,
                "width": camera.width,
                "height": camera.height,
                "params": camera.params.tolist(),
                "focal_px": float(camera.K[0, 0]),
                "cam_from_world": camera.cam_from_world.tolist(),
            }
            for name, camera in zip(fit.names[t], fit.cameras[t], strict=True)
        ],
    }


def _named(names: tuple[str, ...], values: DoubleArray) -> dict[str, Any]:
    return dict(zip(names[: len(values)], values.tolist(), strict=True))


def _fit_of(document: dict[str, Any], arrays: dict[str, Any], model: HeadModel) -> Fit:
    frames = document["frames"]
    places = zip(arrays["scale"], arrays["rotation"], arrays["translation"], strict=True)
    return Fit(
        model,
        arrays["identity"],
        arrays["expressions"],
        arrays["joints"],
        tuple(Similarity(float(scale), turn, shift) for scale, turn, shift in places),
        tuple(tuple(_camera(entry) for entry in frame["cameras"]) for frame in frames),
        tuple(tuple(entry["name"] for entry in frame["cameras"]) for frame in frames),
        arrays["confidence"],
        tuple(document["warnings"]),
        document["unit"],
    )


def _camera(entry: dict[str, Any]) -> Camera:
    return Camera(
        entry["model"],
        entry["width"],
        entry["height"],
        np.array(entry["params"], np.float64),
        np.array(entry["cam_from_world"], np.float64),
    )
