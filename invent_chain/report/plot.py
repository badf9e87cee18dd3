"""Small plots on the unit square, as SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 420, 300, 46, 44, 12, 12


def plot(*marks: str, x: str, y: str, caption: str) -> str:
    """Return a figure with both axes from 0 to 1; `marks` come from the functions below."""
    ticks = "".join(
        f'<line x1="{_x(0)}" x2="{_x(1)}" y1="{_y(v)}" y2="{_y(v)}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 8}" y="{_y(v) + 4}" text-anchor="end">{v:g}</text>'
        f'<text x="{_x(v)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{v:g}</text>'
        for v in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    names = (
        f'<text x="{_x(0.5)}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>'
        f'<text transform="translate(12 {_y(0.5)}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(caption)}">'
        f"{ticks}{''.join(marks)}{names}</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )


def line(points: Iterable[tuple[float, float]], colour: str = "right", *, dashed: bool = False) -> str:
    """Return a line through points in the unit square."""
    path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="var(--{colour})" stroke-width="2"{dash}/>'


def dots(points: Iterable[tuple[float, float, str]], colour: str = "right") -> str:
    """Return dots with a text each, shown on hovering."""
    return "".join(
        f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="5" fill="var(--{colour})"><title>{escape(text)}</title></circle>'
        for x, y, text in points
    )


def bars(heights: Sequence[float], colour: str, *, offset: float) -> str:
    """Return one bar a bin over [0, 1], in the left half of its bin (`offset` 0) or in the right one (0.5)."""
    width = 1 / len(heights)
    drawn = []
    for k, height in enumerate(heights):
        left, top = _x((k + 0.06 + offset * 0.88) * width), _y(height)
        across = (_x(1) - _x(0)) * width * 0.42
        drawn.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{across:.1f}" height="{_y(0) - top:.1f}" '
            f'fill="var(--{colour})">'
            f"<title>{height:.0%}</title></rect>"
        )
    return "".join(drawn)


def label(x: float, y: float, text: str, *, end: bool = False) -> str:
    """Return a text at a point; `end` lets it end there."""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{_x(x):.1f}" y="{_y(y):.1f}"{anchor}>{escape(text)}</text>'


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _BOTTOM - _TOP)
