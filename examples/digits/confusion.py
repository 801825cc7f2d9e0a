"""A confusion matrix as a picture, with nothing but Pillow."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

_CELL = 40
_EDGE = 48


def draw(matrix: Sequence[Sequence[int]], title: str) -> Image.Image:
    """Draw counts of true classes (rows) against predicted ones (columns)."""
    count = len(matrix)
    size = _EDGE + count * _CELL + 16
    image = Image.new("RGB", (size, size + 24), "white")
    pen = ImageDraw.Draw(image)
    pen.text((_EDGE, 6), f"Digits: predicted (across) and true (down), {title}", fill="black")
    most = max(max(row) for row in matrix) or 1
    for i, row in enumerate(matrix):
        top = _EDGE + i * _CELL
        pen.text((_EDGE - 18, top + 14), str(i), fill="black")
        pen.text((_EDGE + i * _CELL + 16, _EDGE - 16), str(i), fill="black")
        for j, value in enumerate(row):
            left = _EDGE + j * _CELL
            share = (value / most) ** 0.5
            color = (int(255 - 215 * share), int(255 - 150 * share), int(255 - 60 * share))
            pen.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), fill=color)
            if value:
                pen.text((left + 12, top + 14), str(value), fill="white" if share > 0.6 else "black")
    return image
