"""Images and their labels as one picture, for a person to look at."""

import io
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw
from torch import Tensor

COLUMNS, GAP, LINE, LEAST = 8, 8, 14, 96  # images in a row; pixels between them, of a line of text, of a side
LETTER = 7  # pixels, about


def picture(parts: Mapping[str, tuple[Tensor, Sequence[str]]]) -> bytes:
    """A PNG. Each part: a title, images uint8 [n, 3, h, w] of one size, small ones enlarged, and a label below each."""
    (height, width), *_ = [tuple(images.shape[2:]) for images, _ in parts.values()]
    scale = max(1, LEAST // width)
    height, width = scale * height, scale * width
    rows = {title: -(-len(labels) // COLUMNS) for title, (_, labels) in parts.items()}
    down = sum(LINE + count * (height + LINE + GAP) for count in rows.values())
    sheet = Image.new("RGB", (GAP + COLUMNS * (width + GAP), GAP + down), "white")
    draw, top = ImageDraw.Draw(sheet), GAP
    for title, (images, labels) in parts.items():
        draw.text((GAP, top), title, fill="black")
        for k, (image, label) in enumerate(zip(images, labels, strict=True)):
            row, column = divmod(k, COLUMNS)
            x, y = GAP + column * (width + GAP), top + LINE + row * (height + LINE + GAP)
            pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
            sheet.paste(pixels.resize((width, height), Image.Resampling.NEAREST), (x, y))
            draw.text((x, y + height), _short(label, width), fill="black")
        top += LINE + rows[title] * (height + LINE + GAP)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _short(label: str, width: int) -> str:
    """As many letters as fit; the built-in font has those of ASCII."""
    return label.encode("ascii", "replace").decode()[: width // LETTER]
