"""The `synthetic` source: ten classes of drawn 32x32 shapes, made by this program: a demonstration needs no download.

A class is a form; centre, size, rotation, both colours, the background's gradient, a bar across the image and noise are
drawn at random for each image and tell nothing of the class. Only keyed hashes and sums, products, quotients, square
roots and comparisons are used, which IEEE 754 rounds the same everywhere: the images, and their fingerprint, are the
same bits on every machine.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from reproduce.data.cifar10.images import Images
from reproduce.data.sampling import below, hash32

N_TRAIN, N_TEST = 10_000, 1_000

# Difficulty. Lengths in pixels, colours in steps of 0-255.
RADIUS = (8.0, 12.0)  # of the form, smallest and largest
SHIFT = 4.0  # the centre lies up to so far from the image's, in each direction
TILT = 0.4  # tangent of the largest rotation
BACKGROUND = 144.0  # brightest channel of a background
CONTRAST = 48.0  # the form is at least so much brighter, in each channel
GRADIENT = 48.0  # largest change of the background across the image
BAR = 2.5  # width of the bar that hides part of the form
BAR_SHARE = 0.3  # of the images have one
NOISE = 12.0  # standard deviation of a pixel's noise

SIZE = 32
KEY = 0xC1FA5  # key of every draw here; it has nothing to do with the seed of a training
TRAIN, TEST, NOISE_BANK = 0, 1, 2
BANK = 256  # the noise of an image is a random window of a noise image of BANK x BANK

Form = Callable[[Tensor, Tensor], Tensor]


def read_synthetic(root: str = "") -> Images:
    """The synthetic images (`root` is not used): made once per process, in about two seconds."""
    return _draw_all()


@lru_cache(maxsize=1)
def _draw_all() -> Images:
    train, test = _draw_split(TRAIN, N_TRAIN), _draw_split(TEST, N_TEST)
    return Images(*train, *test, list(FORMS), "synthetic images made by the suite")


def _draw_split(split: int, n: int) -> tuple[Tensor, Tensor]:
    """n images [n, 3, 32, 32] and labels [n]; image i is of class i mod 10."""
    index = torch.arange(n)
    labels = index % len(FORMS)
    images = torch.empty(n, 3, SIZE, SIZE, dtype=torch.uint8)
    for label, form in enumerate(FORMS.values()):
        images[label :: len(FORMS)] = _draw(form, split, index[label :: len(FORMS)])
    return images, labels


def _draw(form: Form, split: int, index: Tensor) -> Tensor:
    """The images [n, 3, 32, 32] of one form, from 22 numbers in [0, 1) for each."""
    u = uniform(KEY, split, index[:, None], torch.arange(22))[:, :, None, None]
    grid = torch.arange(SIZE) - (SIZE - 1) / 2
    x, y = grid[None, None, :], grid[None, :, None]

    colour = BACKGROUND * u[:, 0:3]
    slope = GRADIENT / SIZE * (2 * u[:, 3:5] - 1)
    image = colour + slope[:, :1] * x[:, None] + slope[:, 1:] * y[:, None]

    contrasting = colour + CONTRAST + (255 - BACKGROUND - CONTRAST) * u[:, 5:8]
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * u[:, 8]
    x0, y0, tilt = SHIFT * (2 * u[:, 9] - 1), SHIFT * (2 * u[:, 10] - 1), TILT * (2 * u[:, 11] - 1)
    image = paint(image, contrasting, cover_of(form, x - x0, y - y0, torch.ones_like(tilt), tilt, radius))

    x0, y0 = SIZE / 3 * (2 * u[:, 12] - 1), SIZE / 3 * (2 * u[:, 13] - 1)
    a, b = 2 * u[:, 14] - 1, 2 * u[:, 15] - 1 + 2**-25  # any direction; never both 0
    bar = cover_of(_bar, x - x0, y - y0, a, b, BAR / 2)
    image = paint(image, 256 * u[:, 16:19], bar * (u[:, 19] < BAR_SHARE))
    return (image + _noise(u[:, 20:22].flatten(1))).clamp(0, 255).to(torch.uint8)


def uniform(*words: int | Tensor) -> Tensor:
    """float32 in [0, 1), multiples of 2**-24, for a key."""
    return (hash32(*words) >> 8).float() / 2**24


def paint(image: Tensor, colour: Tensor, cover: Tensor) -> Tensor:
    """colour [n, 3, 1, 1] over image [n, 3, 32, 32] where cover [n, 32, 32] is 1."""
    return image + (colour - image) * cover[:, None]


def cover_of(form: Form, x: Tensor, y: Tensor, a: Tensor, b: Tensor, radius: Tensor | float) -> Tensor:
    """Share of each pixel that the form covers, [n, 32, 32], by its distance to the outline; (a, b) is its u axis."""
    length = _length(a, b)
    cos, sin = a / length, b / length
    u, v = (cos * x + sin * y) / radius, (cos * y - sin * x) / radius
    return (0.5 - form(u, v) * radius).clamp(0, 1)


def _noise(where: Tensor) -> Tensor:
    """A window [n, 3, 32, 32] of the noise image for each of n positions [n, 2] in [0, 1)."""
    windows = _noise_bank().unfold(1, SIZE, 1).unfold(2, SIZE, 1)  # [3, places, places, 32, 32]
    row, column = (where * windows.shape[1]).long().unbind(1)
    return windows[:, row, column].transpose(0, 1)


@lru_cache(maxsize=1)
def _noise_bank() -> Tensor:
    """Nearly normal noise [3, BANK, BANK]: the sum of 12 uniform numbers has variance 1."""
    pixel = torch.arange(3 * BANK * BANK)
    total = sum(below(256, hash32(KEY, NOISE_BANK, pixel, part)) for part in range(12))
    return NOISE * (torch.as_tensor(total) / 256 - 6).float().view(3, BANK, BANK)


# The forms: signed distance to the outline, about, in units of the radius; negative inside.


def _length(u: Tensor, v: Tensor) -> Tensor:
    """Rounded correctly: torch leaves float32 roots to a library that rounds them otherwise on other processors."""
    return (u * u + v * v).double().sqrt().float()


def _disc(u: Tensor, v: Tensor) -> Tensor:
    return _length(u, v) - 0.9


def _ring(u: Tensor, v: Tensor) -> Tensor:
    return (_length(u, v) - 0.75).abs() - 0.2


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.75


def _frame(u: Tensor, v: Tensor) -> Tensor:
    return (torch.maximum(u.abs(), v.abs()) - 0.65).abs() - 0.18


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(0.866 * u.abs() + 0.5 * v, -v) - 0.5


def _cross(u: Tensor, v: Tensor) -> Tensor:
    long, short = torch.maximum(u.abs(), v.abs()), torch.minimum(u.abs(), v.abs())
    return torch.maximum(long - 0.95, short - 0.25)


def _crescent(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(_disc(u, v), 0.75 - _length(u - 0.5, v))


def _dots(u: Tensor, v: Tensor) -> Tensor:
    return _length(u.abs() - 0.55, v) - 0.38


def _stripes(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(_bands(u), _length(u, v) - 1)


def _checker(u: Tensor, v: Tensor) -> Tensor:
    a, b = _bands(u), _bands(v)
    either = torch.maximum(torch.minimum(a, b), -torch.maximum(a, b))
    return torch.maximum(either, _length(u, v) - 1)


def _bands(u: Tensor, period: float = 0.7) -> Tensor:
    """Parallel bands, half of each period wide."""
    t = u / period
    return ((t - t.floor() - 0.5).abs() - 0.25) * period


def _bar(u: Tensor, v: Tensor) -> Tensor:
    return v.abs() - 1


FORMS: dict[str, Form] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "cross": _cross,
    "crescent": _crescent,
    "dots": _dots,
    "stripes": _stripes,
    "checker": _checker,
}
