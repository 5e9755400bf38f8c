"""Pieces of HTML: everything that comes from outside is escaped here, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 460, 180, 6, 26


def text(value: object) -> str:
    """Words for between tags or inside an attribute's quotes."""
    return escape(str(value), quote=True)


def section(name: str, title: str, *parts: str) -> str:
    """A section with its heading, to be linked to by its name; empty parts make an empty one."""
    body = "".join(parts)
    if not body:
        return ""
    heading = f'<h2 id="{text(name)}">{text(title)}</h2>'
    return f'<section aria-labelledby="{text(name)}">{heading}{body}</section>'


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already; the first of each row is its heading."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = []
    for first, *rest in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        body.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def bar(share: float) -> str:
    """A bar of a share of 1; it says nothing that is not said beside it."""
    width = 100 * min(max(share, 0.0), 1.0)
    return f'<span class="bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'


def picture(source: str, alt: str, size: tuple[int, int]) -> str:
    """A picture (width, height) with what it shows in words."""
    return f'<img src="{text(source)}" alt="{text(alt)}" width="{size[0]}" height="{size[1]}">'


def details(title: str, *parts: str) -> str:
    """What is folded away at first."""
    return f"<details><summary>{text(title)}</summary>{''.join(parts)}</details>"


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values, one below the other."""
    rows = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in values.items())
    return f"<dl>{rows}</dl>"


def json_block(name: str, document: Any) -> str:
    """Data for the page's script; no text in it can end the element."""
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{text(name)}">{data}</script>'


def histogram(found: Mapping[str, Any], title: str, unit: str, digits: int) -> str:
    """A histogram as drawing, its figures in words below.

    Args:
        found: as ``mvs.stages.notes.histogram`` gives it.
        title: what is counted.
        unit: of the values, may be empty.
        digits: after the point.
    """
    edges, counts = found["edges"], found["counts"]
    total, most = sum(counts), max(counts)
    if not total:
        return ""
    wide = (_WIDTH - 2 * _LEFT) / len(counts)
    bars = []
    for k, count in enumerate(counts):
        tall = (_HEIGHT - _BOTTOM - 8) * count / most
        last = " and more" if k == len(counts) - 1 else ""
        said = f"{edges[k]:g} to {edges[k + 1]:g}{last}: {count:,}"
        bars.append(
            f'<rect x="{_LEFT + k * wide:.1f}" y="{_HEIGHT - _BOTTOM - tall:.1f}" '
            f'width="{max(wide - 1, 0.5):.1f}" height="{tall:.1f}"><title>{said}</title></rect>'
        )
    words = _words(found, unit, digits)
    return (
        f'<figure class="plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{text(title)}: {text(words)}">{"".join(bars)}{_marks(found)}'
        f"{_axis(edges, unit)}</svg>"
        f"<figcaption><b>{text(title)}</b><br>{text(words)}</figcaption></figure>"
    )


def _words(found: Mapping[str, Any], unit: str, digits: int) -> str:
    unit = f" {unit}" if unit else ""
    return (
        f"{sum(found['counts']):,} values, median {found['median']:.{digits}f}{unit}, "
        f"95 % below {found['p95']:.{digits}f}{unit}"
    )


def _marks(found: Mapping[str, Any]) -> str:
    """A line at the median."""
    top = found["edges"][-1]
    x = _LEFT + (_WIDTH - 2 * _LEFT) * min(found["median"] / top, 1.0)
    return f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{_HEIGHT - _BOTTOM}"/>'


def _axis(edges: Sequence[float], unit: str) -> str:
    y, marks = _HEIGHT - _BOTTOM, []
    for k in range(5):
        share = k / 4
        x, value = _LEFT + (_WIDTH - 2 * _LEFT) * share, edges[-1] * share
        anchor = "start" if k == 0 else "end" if k == 4 else "middle"
        label = f"{value:g} {unit}".strip() if k == 4 else f"{value:g}"
        marks.append(f'<text x="{x:.1f}" y="{y + 17}" text-anchor="{anchor}">{text(label)}</text>')
    return f'<line x1="{_LEFT}" x2="{_WIDTH - _LEFT}" y1="{y}" y2="{y}"/>{"".join(marks)}'
