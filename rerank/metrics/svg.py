"""The report's pictures as inline SVG, coloured by the page's style."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from markupsafe import Markup, escape

from rerank.metrics.pictures import Picture

At: TypeAlias = Callable[[float, float], tuple[float, float]]
_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 290, 52, 20, 12, 44


def svg(picture: Picture) -> Markup:
    """A picture as inline SVG; colours are classes of the page, text is escaped."""
    top = picture.y_top
    if top is None:
        top = max((float(np.max(y)) for _, _, y in picture.series if len(y)), default=1.0) * 1.05
    top = top or 1.0
    bottom = picture.y_bottom
    if bottom is None:
        lows = (float(np.min(y)) for _, _, y in picture.series if len(y))
        bottom = min(0.0, min(lows, default=0.0))
    xs = np.concatenate([x for _, x, _ in picture.series]).astype(float)
    if picture.kind == "bars":
        low, high = -0.6, len(picture.ticks) - 0.4
    else:
        low, high = float(xs.min()), float(xs.max())
    if picture.x_log:
        low, high = float(np.log10(max(low, 1e-9))), float(np.log10(max(high, 1e-9)))
    high = high if high > low else low + 1

    def at(x: float, y: float) -> tuple[float, float]:
        x = float(np.log10(max(x, 1e-12))) if picture.x_log else x
        return (
            round(_LEFT + (x - low) / (high - low) * (_W - _LEFT - _RIGHT), 1),
            round(_H - _BOTTOM - (y - bottom) / (top - bottom) * (_H - _TOP - _BOTTOM), 1),
        )

    parts = [
        f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{escape(picture.title)}">',
        *_grid(picture, at, low, high, top, bottom),
    ]
    if picture.mark is not None:
        x, _ = at(picture.mark[0], bottom)
        parts.append(
            f'<line class="mark" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_H - _BOTTOM}"/>'
            f'<text x="{x + 5}" y="{_H - _BOTTOM - 6}">{escape(picture.mark[1])}</text>'
        )
    for index, (name, x, y) in enumerate(picture.series):
        if picture.kind == "bars":
            for place, value in zip(x.tolist(), y.tolist(), strict=True):
                left, upper = at(place - 0.36, value)
                right, lower = at(place + 0.36, 0)
                side = "worse" if picture.ticks[int(place)].startswith("worse") else "better"
                parts.append(
                    f'<rect class="{side}" x="{left}" y="{upper}" width="{right - left:.1f}" '
                    f'height="{lower - upper:.1f}"><title>{escape(picture.ticks[int(place)])}: '
                    f"{value:g}</title></rect>"
                    f'<text class="n" x="{(left + right) / 2:.1f}" y="{upper - 3:.1f}">'
                    f"{value:g}</text>"
                )
            continue
        keep = _thin(len(x))
        points = " ".join("{},{}".format(*at(a, b)) for a, b in zip(x[keep], y[keep], strict=True))
        parts.append(
            f'<polyline class="c{index % 6}" points="{points}"><title>{escape(name)}</title>'
            f"</polyline>"
        )
    return Markup("".join([*parts, "</svg>", _legend(picture)]))


def _legend(picture: Picture) -> str:
    if picture.kind == "bars":
        return ""
    names = "".join(
        f'<span><i class="k{index % 6}"></i>{escape(name)}</span>'
        for index, (name, _, _) in enumerate(picture.series)
    )
    return f'<div class="legend">{names}</div>'


def _thin(count: int) -> np.ndarray:
    """At most some hundred points of a curve, more of its start, where it bends."""
    if count <= 300:
        return np.arange(count)
    return np.unique(np.round(np.geomspace(1, count, 300)).astype(int) - 1)


def _grid(
    picture: Picture, at: At, low: float, high: float, top: float, bottom: float
) -> list[str]:
    out = []
    step = _step(top - bottom)
    value = float(np.ceil(bottom / step) * step)
    while value <= top + 1e-9:
        _, y = at(1.0, value)
        out.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text class="y" x="{_LEFT - 6}" y="{y + 4}">{value:g}</text>'
        )
        value = round(value + step, 10)
    for x, word in _x_ticks(picture, low, high):
        place, _ = at(x, 0.0)
        out.append(f'<text class="x" x="{place}" y="{_H - _BOTTOM + 16}">{escape(word)}</text>')
    middle = (_LEFT + _W - _RIGHT) / 2
    out.append(f'<text class="a" x="{middle}" y="{_H - 8}">{escape(picture.x_label)}</text>')
    out.append(
        f'<text class="a" transform="translate(13 {(_H - _BOTTOM) / 2}) rotate(-90)">'
        f"{escape(picture.y_label)}</text>"
    )
    return out


def _short_change(word: str) -> str:
    sign = "+" if word.startswith("better") else "\u2212"
    steps = word.rpartition(" ")[2]
    return sign + ("11\u2026" if steps == ">10" else steps.replace("-", "\u2026"))


def _step(top: float) -> float:
    rough = top / 5
    size = 10.0 ** np.floor(np.log10(rough))
    return float(next(size * k for k in (1, 2, 5, 10) if size * k >= rough))


def _x_ticks(picture: Picture, low: float, high: float) -> list[tuple[float, str]]:
    if picture.kind == "bars":
        return [(float(place), _short_change(word)) for place, word in enumerate(picture.ticks)]
    if picture.x_log:
        largest = 10**high
        known = [k * 10.0**e for e in range(-6, 9) for k in (1, 2, 5)]
        inside = [k for k in known if 10**low - 1e-9 <= k <= largest + 1e-9]
        return [(k, f"{k:g}") for k in inside[:: -(-len(inside) // 7) or 1]]
    step = _step(high - low)
    first = np.ceil(low / step) * step
    # The rounding of a step past zero would show as -0.
    places = np.round(np.arange(first, high + 1e-9, step), 12) + 0.0
    return [(float(x), f"{x:.6g}") for x in places]
