"""The course of a migration as a picture of its own, for the docs: what is left to copy, and the speeds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

MIB = 2**20
_WIDTH, _HEIGHT, _MARGIN, _GAP = 720, 150, 48, 46
_STYLE = (
    "text{font:12px sans-serif;fill:#444}.title{font-weight:600;fill:#222}.axis{stroke:#999}"
    "polyline{fill:none;stroke-width:2}.left{fill:#cfe0f5;stroke:#3b73b9}.fits{stroke:#2c8a4b;stroke-dasharray:6 4}"
    ".link{stroke:#2c8a4b}.dirt{stroke:#b7791f;stroke-dasharray:2 3}.slow{stroke:#a33;stroke-width:1.5}"
)


def course(points: Sequence[Sequence[float]], title: str) -> str:
    """An SVG of a job's `curve`: points of (seconds, bytes left, link and writing in bytes a second, limit of the
    pause in ms, percent by which the guest is slowed down).
    """
    began, ended = points[0][0], points[-1][0]
    span = max(ended - began, 0.1)

    def line(values: Sequence[float], top: float, below: float) -> str:
        across = [_MARGIN + _WIDTH * (point[0] - began) / span for point in points]
        down = [below - _HEIGHT * min(value, top) / top for value in values]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))

    most = max(max(point[1] for point in points), 1)
    fastest = max(max(point[2], point[3]) for point in points) or 1
    first, second = 28 + _HEIGHT, 28 + 2 * _HEIGHT + _GAP
    right = _MARGIN + _WIDTH
    left = line([point[1] for point in points], most, first)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 16} {second + 34}" role="img">',
            f"<style>{_STYLE}</style>",
            f'<text class="title" x="{_MARGIN}" y="16">{escape(title)}</text>',
            f'<polygon class="left" points="{_MARGIN},{first} {left} {right},{first}"/>',
            f'<polyline class="fits" points="{line([p[2] * p[4] / 1000 for p in points], most, first)}"/>',
            *_axis(first, f"{most / MIB:.0f} MiB", "left to copy; dashed: what fits into the allowed pause"),
            f'<polyline class="link" points="{line([p[2] for p in points], fastest, second)}"/>',
            f'<polyline class="dirt" points="{line([p[3] for p in points], fastest, second)}"/>',
            f'<polyline class="slow" points="{line([p[5] for p in points], 100, second)}"/>',
            *_axis(
                second,
                f"{fastest / MIB:.0f} MiB/s",
                "green: the link carries; dotted: the guest writes; red: slowed down by, of 100 %",
            ),
            f'<text x="{right - 40}" y="{second + 16}">{span:.0f} s</text>',
            "</svg>",
            "",
        ]
    )


def _axis(below: float, top: str, what: str) -> list[str]:
    above = below - _HEIGHT
    return [
        f'<line class="axis" x1="{_MARGIN}" y1="{above}" x2="{_MARGIN}" y2="{below}"/>',
        f'<line class="axis" x1="{_MARGIN}" y1="{below}" x2="{_MARGIN + _WIDTH}" y2="{below}"/>',
        f'<text x="{_MARGIN + 6}" y="{above + 4}">{escape(top)}</text>',
        f'<text x="{_MARGIN}" y="{below + 16}">{escape(what)}</text>',
    ]
