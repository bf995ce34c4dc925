"""The course of a migration as a picture: what is left to copy, and the guest's writing against the link. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portal.pages.wording import length_words, size_words

#: The drawing's own units.
WIDTH, HEIGHT = 600, 120
#: Fewer readings than these make no picture.
LEAST_POINTS = 3


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines as SVG takes them. `fits` is what could be sent within the allowed pause: where what is left falls below
    it, the guest is stopped for the switch.
    """

    left: str
    fits: str
    link: str
    dirt: str
    most_left: str
    fastest: str
    seconds: str
    summary: str


def chart(points: Sequence[Sequence[float]]) -> Chart | None:
    """Draw what `jobs.models.Curve` keeps; None while that is too little."""
    if len(points) < LEAST_POINTS or points[-1][0] <= points[0][0]:
        return None
    began, ended = points[0][0], points[-1][0]
    most = max(max(point[1] for point in points), 1)
    fastest = max(max(point[2], point[3]) for point in points) or 1
    span = ended - began

    def line(values: Sequence[float], top: float) -> str:
        across = [WIDTH * (point[0] - began) / span for point in points]
        down = [HEIGHT * (1 - min(value, top) / top) for value in values]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))

    fits = [point[2] * point[4] / 1000 for point in points]
    last = points[-1]
    before, after = size_words(int(points[0][1])), size_words(int(last[1]))
    carried, written = (size_words(int(max(point[place] for point in points))) for place in (2, 3))
    summary = (
        f"In {length_words(span)}, what was left fell from {before} to {after}; the link carried up to {carried}/s, "
        f"the guest wrote up to {written}/s."
    )
    return Chart(
        left=line([point[1] for point in points], most),
        fits=line(fits, most),
        link=line([point[2] for point in points], fastest),
        dirt=line([point[3] for point in points], fastest),
        most_left=size_words(int(most)),
        fastest=f"{size_words(int(fastest))}/s",
        seconds=length_words(span),
        summary=summary,
    )
