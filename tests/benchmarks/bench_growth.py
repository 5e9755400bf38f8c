"""How time and memory grow with views and pixels, balanced quality; drawn as growth.svg.

Renders its captures from the ICT-FaceKit head of ``tests.shared``.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.shared import ICT

SAMPLE = Path(__file__).parents[2] / "data_samples" / "head"
VIEWS = (2, 4, 8, 16, 32)
SIZES = (256, 512, 768, 1024, 1536)
STAGES = ("embed", "match", "triangulate", "fuse", "refine", "mesh")
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#d62728", "#8c564b")


def mvs(*arguments):
    subprocess.run([sys.executable, "-m", "mvs", *map(str, arguments), "--quiet"], check=True)


def measure(capture, images, output):
    mvs("reconstruct", capture, "--images", images, "--output", output)
    record = json.loads((output / "run.json").read_text())
    return {**record["cpu_seconds"], "peak": record["peak_memory_mb"]}


def by_views(folder):
    capture = folder / "views"
    mvs("synthesize", "capture", "--head", ICT, "--output", capture, "--n-views", max(VIEWS))
    names = sorted(path.name for path in (capture / "images").iterdir())
    rows = []
    for n in VIEWS:
        images = folder / f"images{n}"
        images.mkdir()
        # Neighbours for few views, the whole arc for many.
        step = min(len(names) // n, 2)
        start = (len(names) - n * step) // 2
        for name in names[start : start + n * step : step]:
            (images / name).symlink_to(capture / "images" / name)
        rows.append((n, measure(capture, images, folder / f"views{n}")))
    return rows


def by_size(folder):
    rows = []
    for size in SIZES:
        capture = folder / f"size{size}"
        options = ("--size", size, "--supersampling", 2)
        mvs("synthesize", "capture", "--head", ICT, "--output", capture, *options)
        rows.append((size, measure(capture, capture / "images", folder / f"out{size}")))
    return rows


def chart(rows, title, left):
    """One chart as SVG: CPU seconds of the stages stacked over the numbers in ``rows``."""
    width, height, base = 360, 220, 260
    top = max(sum(row[stage] for stage in STAGES) for _, row in rows)
    parts = [f'<text x="{left}" y="24" font-size="14">{title}</text>']
    for k, (number, row) in enumerate(rows):
        x, y = left + k * width // len(rows), base
        for stage, color in zip(STAGES, COLORS, strict=True):
            tall = height * 0.9 * row[stage] / top
            y -= tall
            parts.append(
                f'<rect x="{x}" y="{y:.1f}" width="44" height="{tall:.1f}" fill="{color}"/>'
            )
        total = sum(row[stage] for stage in STAGES)
        for text, line in ((f"{total:.0f} s", y - 5), (number, base + 16)):
            parts.append(f'<text x="{x + 22}" y="{line:.1f}" text-anchor="middle">{text}</text>')
        memory = f"{row['peak'] / 1000:.2f} GB"
        parts.append(f'<text x="{x + 22}" y="{base + 32}" text-anchor="middle">{memory}</text>')
    return parts


def draw(views, sizes, path):
    parts = chart(views, "CPU seconds, 512 x 512, by number of views", 20)
    parts += chart(sizes, "CPU seconds, 12 views, by width of a picture", 420)
    for k, (stage, color) in enumerate(zip(STAGES, COLORS, strict=True)):
        x = 20 + 110 * k
        parts.append(f'<rect x="{x}" y="306" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 18}" y="317">{stage}</text>')
    body = "\n".join(parts)
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="800" height="330" '
        'font-family="sans-serif" font-size="12"><rect width="800" height="330" fill="white"/>\n'
        f"{body}\n</svg>\n"
    )


def main():
    if not ICT.is_file():
        print(f"{ICT} is absent: nothing to measure")
        return
    with tempfile.TemporaryDirectory() as name:
        # The first run of all compiles the kernels.
        mvs("reconstruct", SAMPLE, "--output", Path(name) / "warm")
        views, sizes = by_views(Path(name)), by_size(Path(name))
    for what, rows in (("views", views), ("pixels across", sizes)):
        print(f"{what:>14}  " + "".join(f"{stage:>12}" for stage in STAGES) + "     peak MB")
        for number, row in rows:
            seconds = "".join(f"{row[stage]:10.1f} s" for stage in STAGES)
            print(f"{number:14d}  {seconds}  {row['peak']:10.0f}")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("growth.svg")
    draw(views, sizes, path)
    print(f"drawn: {path}")


if __name__ == "__main__":
    main()
