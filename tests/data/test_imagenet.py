"""ImageNet's data stage: odd files, views, trees, keyed shares, workers, the mean, and what is said of bad input."""

import hashlib
import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reproduce.data.imagenet import decode as decode_module
from reproduce.data.imagenet import image_folder
from reproduce.data.imagenet import normalize as mean_module
from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.data.imagenet.decode import decode, read_image
from reproduce.data.imagenet.transforms import (
    _covered,
    centre_crop,
    draw,
    region,
    resize_shorter,
    resized,
    resized_as_floats,
    rows_needed,
    training_crop,
)
from reproduce.data.sampling import epoch_order, hash32
from reproduce.data.synthetic import imagenet
from reproduce.data.synthetic.cifar10 import FORMS
from reproduce.data.workers import Failure
from reproduce.utils.errors import UserError
from tests.helpers.images import CHANNELS, cut_short, jpeg, module, pil, small_tree, smooth

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder that holds the embedded set."""
    folder = tmp_path_factory.mktemp("cache")
    imagenet.write_shapes(folder)
    return folder


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


# Odd files


def png(image: Tensor, mode: str) -> bytes:
    file = io.BytesIO()
    pil(image).convert(mode).save(file, "PNG")
    return file.getvalue()


KINDS: dict[str, Callable[[Tensor], bytes]] = {
    "baseline": lambda x: jpeg(x),
    "4:4:4": lambda x: jpeg(x, subsampling=0),
    "4:2:2": lambda x: jpeg(x, subsampling=1),
    "restart markers": lambda x: jpeg(x, restart_marker_rows=1),
    "RGB inside": lambda x: jpeg(x, keep_rgb=True),
    "progressive": lambda x: jpeg(x, progressive=True),
    "grey": lambda x: jpeg(x, "L"),
    "CMYK": lambda x: jpeg(x, "CMYK"),
    "broken EXIF": lambda x: jpeg(x, exif=imagenet.BROKEN_EXIF),
    "rotated by EXIF": lambda x: jpeg(x, exif=_orientation(6)),
    "PNG": lambda x: png(x, "RGB"),
    "PNG with alpha": lambda x: png(x, "RGBA"),
    "PNG with palette": lambda x: png(x, "P"),
    "bytes after the end": lambda x: jpeg(x) + b"\0" * 100,
}


def _orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.fixture(params=["simplejpeg", "torchvision"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(decode_module, "simplejpeg", None)
    return str(request.param)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (64, 48)])
def test_odd_files_are_read_as_pil_reads_them(kind: str, size: tuple[int, int], decoder: str) -> None:
    data = KINDS[kind](smooth(*size))
    found = decode(data)
    assert found.shape == (3, *size)
    assert found.dtype == torch.uint8
    assert torch.equal(found, tensor(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_not_needed_change_none_that_are(kind: str, decoder: str) -> None:
    data = KINDS[kind](smooth(67, 53))
    whole = decode(data)
    for needed in (1, 15, 16, 17, 40, 66, 67):
        found = decode(data, lambda height, width, needed=needed: needed)  # type: ignore[misc]
        assert found.shape == whole.shape
        assert torch.equal(found[:, :needed], whole[:, :needed])


def test_ycck_is_read_as_pil_reads_it() -> None:
    """CMYK with Adobe's transform 2: the first three components are YCC, all inverted."""
    data = jpeg(smooth(32, 32), "CMYK")
    place = data.index(b"Adobe") + 11  # of the transform flag
    ycck = data[:place] + b"\x02" + data[place + 1 :]
    assert not torch.equal(decode(ycck), decode(data))
    assert torch.equal(decode(ycck), tensor(Image.open(io.BytesIO(ycck))))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<html>not found</html>", "its beginning is of neither"),
        (jpeg(smooth(64, 64), quality=95)[:900], "truncated"),
        (jpeg(smooth(64, 64), progressive=True)[:900], "truncated"),
        (jpeg(smooth(64, 64))[:-2], "truncated"),
        (png(smooth(64, 64), "RGB")[:900], "truncated"),
        (b"\xff\xd8\xff", "its beginning is of neither"),
    ],
    ids=["empty", "text", "cut JPEG", "cut progressive", "no end marker", "cut PNG", "three bytes"],
)
def test_an_unreadable_file_is_one_line_with_its_path(tmp_path: Path, content: bytes, said: str, decoder: str) -> None:
    path = tmp_path / "bad.JPEG"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        read_image(path, lambda height, width: 1)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_a_missing_file_is_one_line_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.JPEG: cannot be read \(No such file or directory\)"):
        read_image(tmp_path / "gone.JPEG")


# Views


def corner(h: int, n: int) -> int:
    """The smallest hash that chooses corner h of n."""
    return -(-(h << 32) // n)


@pytest.mark.parametrize("side", [40, 64, 90, 131, 300])
@pytest.mark.parametrize("size", [(90, 120), (131, 97), (64, 64)])
def test_the_training_crop_is_pils_resize_of_the_same_box(side: int, size: tuple[int, int]) -> None:
    image, crop, (height, width) = smooth(*size), 32, size
    scale = side / min(size)
    rows = columns = -(-crop * min(size) // side)  # pixels that the crop covers, begun ones included
    for top, left in ((0, 0), (height - rows, width - columns), ((height - rows) // 2, (width - columns) // 3)):
        found = training_crop(image, side, corner(top, height - rows + 1), corner(left, width - columns + 1), crop)
        box = (left, top, min(left + crop / scale, width), min(top + crop / scale, height))
        wanted = tensor(pil(image).resize((crop, crop), Image.Resampling.BILINEAR, box=box))
        inner = (slice(None), slice(4, -4), slice(4, -4))
        assert found.shape == (3, crop, crop)
        assert (found[inner].int() - wanted[inner].int()).abs().max() <= 2


@pytest.mark.parametrize(("side", "step"), [(60, 3), (90, 2), (120, 3), (45, 4), (30, 2)])
def test_the_training_crop_is_resizing_everything_and_cropping(side: int, step: int) -> None:
    """Image 60x80; at corners that are pixels of both: 60 → 90 maps source row 2 to row 3, and so on."""
    image, crop = smooth(60, 80), 24
    whole = F.interpolate(image[None], size=(side, side * 80 // 60), mode="bilinear", antialias=True)[0]
    scale = side / 60
    rows = columns = -(-crop * 60 // side)
    for top, left in ((0, 0), (step, 2 * step)):
        if top > 60 - rows or left > 80 - columns:
            continue
        found = training_crop(image, side, corner(top, 60 - rows + 1), corner(left, 80 - columns + 1), crop)
        y, x = round(top * scale), round(left * scale)
        difference = (found.int() - whole[:, y : y + crop, x : x + crop].int()).abs()
        assert difference[:, 3:-3, 3:-3].max() <= 1  # rounding
        assert difference.max() <= 12  # the taps beyond the crop's edge, on this image


@pytest.mark.parametrize("side", [32, 64, 128])
def test_crops_reach_the_last_pixel_where_the_ratio_is_a_whole_number(side: int) -> None:
    """64x64 at its size, halved in scale and doubled: the last place ends with the last row and the last column."""
    image = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64)
    last = 2**32 - 1
    for turned in (image, image.transpose(1, 2)):
        part, scale = region(turned, side, last, last, 16)
        assert part.shape == (3, 16 * 64 // side, 16 * 64 // side)
        assert part.max() == 63
        assert training_crop(turned, side, last, last, 16).shape == (3, 16, 16)
        assert rows_needed(64, 64, side, last, 16) == 64
        assert scale == pytest.approx(side / 64)
    starts = {int(region(image, side, 0, k << 26, 16)[0].min()) for k in range(64)}
    assert starts == set(range(64 - 16 * 64 // side + 1))  # every place, from the first column on


def test_a_crop_is_never_a_pixel_short() -> None:
    """The quotient side / shorter is rounded; where whole pixels make a crop, torch must still see as many."""
    for side in range(224, 481):
        for shorter in range(1, 1000):
            length, scale = _covered(shorter, side, 224)
            assert int(length * scale) >= 224
            assert length <= shorter


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (500, 3), (2, 2)])
def test_tiny_images_are_enlarged(size: tuple[int, int]) -> None:
    image = smooth(*size)
    for hashes in (0, 2**32 - 1):
        assert training_crop(image, 256, hashes, hashes, 224).shape == (3, 224, 224)
    assert centre_crop(resize_shorter(image, 256), 224).shape == (3, 224, 224)


@pytest.mark.arithmetic
@pytest.mark.parametrize(("size", "side", "shape"), [((90, 120), 64, (64, 85)), ((131, 97), 150, (202, 150))])
def test_resize_shorter_is_pils(size: tuple[int, int], side: int, shape: tuple[int, int]) -> None:
    image = smooth(*size)
    wanted = tensor(pil(image).resize(shape[::-1], Image.Resampling.BILINEAR))
    found = resize_shorter(image, side)
    assert found.shape == (3, *shape)
    assert (found.int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (200, 180), (256, 300)])
def test_by_floats_as_on_a_gpu_an_image_is_the_same_to_a_grey_level(size: tuple[int, int]) -> None:
    image = smooth(*size, 3)
    wanted = (256, 256 * size[1] // size[0])
    ours, by_floats = resized(image, wanted), resized_as_floats(image, wanted)
    assert by_floats.dtype == torch.uint8
    assert ours.shape == by_floats.shape == (3, *wanted)
    assert int((ours.int() - by_floats.int()).abs().max()) <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device (make test-gpu)")
def test_a_gpu_resizes_to_within_a_grey_level() -> None:
    image = smooth(375, 500, 3)
    found = resize_shorter(image.cuda(), 256).cpu()
    assert int((found.int() - resize_shorter(image, 256).int()).abs().max()) <= 1


def test_centre_crop_is_in_the_middle() -> None:
    image = torch.arange(7 * 9).view(1, 7, 9).expand(3, 7, 9)
    assert centre_crop(image, 3)[0].tolist() == [[21, 22, 23], [30, 31, 32], [39, 40, 41]]


def test_draws_cover_their_ranges_evenly() -> None:
    j = torch.arange(50_000)
    moves = draw(3, 17, j, (256, 480), 0.1)
    counts = torch.bincount(moves.side - 256, minlength=225)
    assert len(counts) == 225  # 256..480, both included
    expected = len(j) / 225
    assert ((counts - expected) ** 2 / expected).sum() < 310  # chi-squared, 224 degrees of freedom, p about 1e-4
    assert abs(moves.flip.double().mean() - 0.5) < 0.01
    for a, b in ((moves.down, moves.across), (moves.side, moves.down), (moves.flip, moves.across)):
        assert abs(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1]) < 0.02


def test_colour_noise_has_alexnets_covariance() -> None:
    """Sum of p_i alpha_i lambda_i: covariance P diag((0.1 lambda)^2) P^T, with lambda for pixels in [0, 1]."""
    colour = draw(0, 0, torch.arange(200_000), (256, 480), 0.1).colour.double()
    vectors = torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    ).double()
    deviations = 0.1 * 255 * torch.tensor([0.2175, 0.0188, 0.0045]).double()
    expected = vectors @ torch.diag(deviations**2) @ vectors.T
    assert colour.mean(0).abs().max() < 0.05
    torch.testing.assert_close(torch.cov(colour.T), expected, atol=0.1, rtol=0.01)
    assert torch.equal(draw(0, 0, torch.arange(4), (256, 480), 0.0).colour, torch.zeros(4, 3))


# The stream of training batches


def test_a_training_batch_from_its_definition(embedded: Path) -> None:
    data = module(embedded, seed=9, scale=2.0)
    x, y = data.train_batch(41)
    files, mean = data.files["train"], data._normaliser.offset
    moves = draw(9, 41, torch.arange(8), (36, 60), 0.1)
    for j in range(8):
        p = 41 * 8 + j
        i = int(epoch_order(9, p // 300, 300)[p % 300])
        image = tensor(Image.open(files.path(i)))
        crop = training_crop(image, int(moves.side[j]), int(moves.down[j]), int(moves.across[j]), 32).float()
        crop = crop.flip(2) if moves.flip[j] else crop
        assert y[j] == files.labels[i]
        torch.testing.assert_close(x[j], (crop - mean + moves.colour[j, :, None, None]) / 2.0)
    assert int(moves.side[0]) == 36 + (25 * int(hash32(9, 41, 0, 1)) >> 32)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(embedded: Path, workers: int) -> None:
    data = module(embedded, workers=workers)
    data.start_iteration = 5
    batches = [data.transfer_batch_to_device(item, torch.device("cpu"), 0) for item in data.train_dataloader()]
    assert len(batches) == 5  # iterations 5..9
    alone = module(embedded)
    for iteration, batch in zip(range(5, 10), batches, strict=True):
        assert len(batch) == 1
        x, y = alone.train_batch(iteration)
        [(carried, (found, labels))] = batch
        assert carried == iteration
        assert torch.equal(found, x)
        assert torch.equal(labels, y)


def test_what_workers_need_can_be_sent_to_them(embedded: Path) -> None:
    """Python 3.14 starts them anew instead of copying this process."""
    data = module(embedded)
    sent = pickle.loads(pickle.dumps(data.train_dataloader().dataset))
    assert torch.equal(sent[3][0], data.share(0, 1)(3)[0])
    (tested,) = data.val_dataloader()
    assert len(pickle.loads(pickle.dumps(tested.dataset))[0][1]) == 60


def test_processes_change_nothing(embedded: Path) -> None:
    data = module(embedded)
    for iteration in (0, 37):  # 37: the batch spans two epochs
        x, y = data.train_batch(iteration)
        for world in (2, 4):
            parts = [data.train_batch(iteration, rank, world) for rank in range(world)]
            assert torch.equal(torch.cat([part[0] for part in parts]), x)
            assert torch.equal(torch.cat([part[1] for part in parts]), y)
    both = data.train_batches(torch.tensor([3, 4]))
    assert torch.equal(both[1][0], data.train_batch(4)[0])


def test_memory_layout_changes_no_bit(embedded: Path) -> None:
    x = module(embedded, channels_last=True).train_batch(2)[0]
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, module(embedded).train_batch(2)[0])


def test_a_loader_ends_at_the_next_test_or_at_the_end(embedded: Path) -> None:
    data = module(embedded, iterations=24, **CHANNELS)
    lengths = {}
    for start in (0, 3, 9, 10, 20, 23):
        data.start_iteration = start
        lengths[start] = len(data.train_dataloader())
    assert lengths == {0: 10, 3: 7, 9: 1, 10: 10, 20: 4, 23: 1}


def test_an_indivisible_batch_is_refused(embedded: Path) -> None:
    with pytest.raises(UserError, match="8 is not divisible by 3 processes"):
        module(embedded, **CHANNELS).train_batch(0, 0, 3)


# Testing


@pytest.mark.parametrize("workers", [0, 2])
def test_centre_crops_of_every_image_once(embedded: Path, workers: int) -> None:
    data = module(embedded, workers=workers)
    pairs = [list(data.test_batches(rank=rank, world=7, size=4)) for rank in range(7)]
    assert [[len(y) for _, y in part] for part in pairs] == [[4, 4, 1]] * 4 + [[4, 4, 0]] * 3
    x = torch.empty(60, 3, 32, 32)
    for rank, part in enumerate(pairs):
        x[rank::7] = torch.cat([images for images, _ in part])
    images = [tensor(Image.open(data.files["test"].path(i))) for i in range(60)]
    crops = torch.stack([centre_crop(resize_shorter(image, 40), 32) for image in images])
    torch.testing.assert_close(x, crops.float() - data._normaliser.offset)
    labels = torch.cat([y for _, y in data.test_batches()])
    assert torch.equal(labels, torch.arange(10).repeat_interleave(6))


def test_the_val_loader_gives_test_batches(embedded: Path) -> None:
    data = module(embedded)
    found = [data.transfer_batch_to_device(item, torch.device("cpu"), 0) for item in data.val_dataloader()[0]]
    wanted = list(data.test_batches())
    assert len(found) == len(wanted) == 1
    assert torch.equal(found[0][0], wanted[0][0])
    assert torch.equal(found[0][1], wanted[0][1])


@pytest.mark.parametrize("workers", [0, 1])
def test_whole_images(embedded: Path, workers: int) -> None:
    data = module(embedded, workers=workers, **CHANNELS)
    everything = list(data.test_images())
    assert len(everything) == 60
    shards = [list(data.test_images(rank, 7)) for rank in range(7)]
    assert sum(len(part) for part in shards) == 60
    assert torch.equal(shards[3][2][0], everything[17][0])
    chosen = list(data.test_images(indices=torch.tensor([59, 0])))
    assert [label for _, label in chosen] == [9, 0]
    assert torch.equal(chosen[0][0], everything[59][0])
    assert everything[5][0].shape == read_image(data.files["test"].path(5)).shape


def test_channels_by_hand(embedded: Path) -> None:
    data = module(embedded, **CHANNELS)
    x = torch.randint(0, 256, (2, 3, 5, 9), dtype=torch.uint8)
    expected = (x.numpy() / 255 - np.reshape((0.5, 0.4, 0.3), (3, 1, 1))) / 0.2
    np.testing.assert_allclose(data.normalise(x).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [32, 33])
def test_floats_that_are_normalised_stay_as_they_were(embedded: Path, size: int) -> None:
    data = module(embedded, scale=3.0)
    x = 255 * torch.rand(2, 3, size, size)
    before = x.clone()
    found = data.normalise(x)
    assert torch.equal(x, before)
    assert not torch.equal(found, x)


def test_images_of_another_size_lose_the_mean_colour(embedded: Path) -> None:
    data = module(embedded, scale=3.0)
    x = torch.randint(0, 256, (2, 3, 33, 47), dtype=torch.uint8)
    colour = data._normaliser.offset.mean((1, 2)).view(3, 1, 1)
    torch.testing.assert_close(data.normalise(x), (x.float() - colour) / 3)
    x = x[:, :, :32, :32]
    torch.testing.assert_close(data.normalise(x), (x.float() - data._normaliser.offset) / 3)


# The mean image


def test_the_mean_image_by_hand_and_from_the_cache(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_tree(tmp_path / "tree")
    given = {"source": "folder", "root": str(root), "cache": tmp_path / "kept"}
    data = module(embedded, **given)
    files = data.files["train"]
    crops = [centre_crop(resize_shorter(read_image(files.path(i)), 40), 32) for i in range(6)]
    np.testing.assert_allclose(data._normaliser.offset.numpy(), torch.stack(crops).double().mean(0).numpy(), rtol=1e-6)
    (kept,) = (tmp_path / "kept").iterdir()
    assert re.fullmatch(r"mean-[0-9a-f]{16}\.npy", kept.name)
    np.save(kept, np.full((3, 32, 32), 7, dtype=np.float32))
    assert module(embedded, **given)._normaliser.offset.unique().tolist() == [7]  # read, not computed
    kept.write_bytes(kept.read_bytes()[:50])
    anew = module(embedded, **given)._normaliser.offset  # the file is damaged
    torch.testing.assert_close(anew, data._normaliser.offset)
    module(embedded, **given, validation=1)
    assert len(list((tmp_path / "kept").iterdir())) == 2  # another training set
    monkeypatch.setattr(mean_module, "SAMPLE", 2)
    sampled = module(embedded, **given)._normaliser.offset
    pair = [crops[i] for i in epoch_order(mean_module.SAMPLE_KEY, 0, 6)[:2].tolist()]
    np.testing.assert_allclose(sampled.numpy(), torch.stack(pair).double().mean(0).numpy(), rtol=1e-6)


def test_other_images_of_the_same_names_and_sizes_have_a_mean_of_their_own(embedded: Path, tmp_path: Path) -> None:
    root = small_tree(tmp_path / "tree")
    given = {"source": "folder", "root": str(root), "cache": tmp_path / "kept"}
    before = module(embedded, **given)
    for path in (root / "train").glob("*/*"):
        other = jpeg(smooth(40, 50, 99), quality=30)
        path.write_bytes(other.ljust(path.stat().st_size, b"\0"))
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**6))  # clocks of file systems may be coarse
    after = module(embedded, **given)
    assert after.fingerprint == before.fingerprint
    assert not torch.equal(after._normaliser.offset, before._normaliser.offset)
    assert len(list((tmp_path / "kept").iterdir())) == 2


# Trees


def test_a_tree_is_sorted_and_labelled(tmp_path: Path) -> None:
    found = image_folder.read_tree(small_tree(tmp_path))
    assert found.classes == ["n00000000", "n00000001"]
    assert found.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [found.test.path(i).name for i in range(4)] == [f"n{k:08d}_{i}.JPEG" for k in (0, 1) for i in (0, 1)]
    assert found.train.path(5) == tmp_path / "train" / "n00000001" / "n00000001_2.JPEG"
    assert found.train.sizes[5] == found.train.path(5).stat().st_size
    first = found.subset(2)
    assert (len(first.train), len(first.test)) == (4, 4)
    assert first.train.path(2) == found.train.path(3)


def test_a_flat_val_with_labels_is_the_same_set(tmp_path: Path) -> None:
    by_class, flat = small_tree(tmp_path / "a"), small_tree(tmp_path / "b")
    lines = []
    for path in sorted((flat / "val").glob("*/*"), reverse=True):
        path.rename(flat / "val" / path.name)
        lines.append(f"{path.name} {path.parent.name}")
    for folder in (flat / "val").glob("n0*/"):
        folder.rmdir()
    (flat / "val_labels.txt").write_text("\n".join(lines) + "\n")
    one, two = image_folder.read_tree(by_class), image_folder.read_tree(flat)
    assert two.fingerprint() == one.fingerprint()
    assert two.test.path(3).read_bytes() == one.test.path(3).read_bytes()
    (flat / "val_labels.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match=rf"val_labels\.txt: no label .* for {lines[0].split()[0]} \(1 images\)"):
        image_folder.read_tree(flat)
    (flat / "val_labels.txt").unlink()
    with pytest.raises(UserError, match=r"val_labels\.txt: needed"):
        image_folder.read_tree(flat)


def test_the_fingerprint_sees_names_and_sizes(tmp_path: Path) -> None:
    root = small_tree(tmp_path)
    prints = [image_folder.read_tree(root).fingerprint()]
    path = root / "train" / "n00000001" / "n00000001_0.JPEG"
    path.write_bytes(path.read_bytes() + b"\0")
    prints.append(image_folder.read_tree(root).fingerprint())
    path.rename(path.with_name("other.JPEG"))
    prints.append(image_folder.read_tree(root).fingerprint())
    assert len(set(prints)) == 3
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in prints)


def _remove(root: Path, name: str) -> None:
    for path in (root / name).glob("*"):
        path.unlink()


def _without_val(root: Path) -> None:
    (root / "val").rename(root / "validation")


def _empty_class(root: Path) -> None:
    _remove(root, "train/n00000001")


def _extra_class(root: Path) -> None:
    (root / "val" / "n00000001").rename(root / "val" / "n00000009")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_without_val, "val: no such folder"),
        (_empty_class, "train/n00000001: the class is empty"),
        (_extra_class, "differ (n00000001, n00000009)"),
    ],
)
def test_a_broken_tree_is_one_line(tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    root = small_tree(tmp_path)
    harm(root)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        image_folder.read_tree(root)
    assert str(root) in str(caught.value)
    assert "make check-data" in str(caught.value)


def tar_of(folder: Path, nested: bool = False) -> int:
    """Bytes of a tar of the files in the class folders; `nested`: of one tar a class."""
    return len(_tar({p.name: _tar(_files(p)) for p in folder.iterdir()} if nested else _files(*folder.iterdir())))


def _files(*folders: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()}


def _tar(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_bytes_of_a_tar_are_known_from_the_sizes_but_for_its_end(tmp_path: Path) -> None:
    root = small_tree(tmp_path, train=12, classes=9)
    found = image_folder.read_tree(root)
    least, most = image_folder.tar_bytes(found.test.sizes)
    assert least <= tar_of(root / "val") <= most
    assert most - least == 10_240
    least, most = image_folder.tar_bytes(found.train.sizes, inner=9)
    assert least <= tar_of(root / "train", nested=True) <= most
    assert most - least == 10 * 10_240
    assert image_folder.tar_bytes(found.train.sizes[1:], inner=9)[0] < least - 512


def test_small_images_of_imagenets_names_are_not_imagenet() -> None:
    """1000 official classes and as many images of a kilobyte each, listed without being written."""
    classes = [f"n{k:08d}" for k in range(1000)]
    train, val = (
        image_folder.Files(
            Path(), np.empty(n, dtype="S1"), torch.zeros(n, dtype=torch.int64), np.full(n, 1000, dtype=np.int64)
        )
        for n in image_folder.OFFICIAL_SIZES
    )
    found = image_folder.Tree(classes, train, val)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_folder, "OFFICIAL_WNIDS", image_folder.wnids_sha256(classes))
        assert not found.is_official()
        said = found.strange_bytes()
    assert said.startswith("the files of train/ make a tar of 1,979,")
    assert said.endswith(
        ", not of 147,897,477,120 and the files of val/ make a tar of 76,811,264 bytes at most, not of 6,744,924,160"
    )


def test_the_official_set_must_be_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_tree(tmp_path)
    said = "2 classes, 6 training and 4 validation images instead of the 1,000 of ILSVRC-2012, 1,281,167 and 50,000"
    with pytest.raises(UserError, match=re.escape(said)):
        image_folder.read_official(root)
    monkeypatch.setattr(image_folder, "OFFICIAL_SIZES", (6, 4))
    with pytest.raises(UserError, match="instead of"):  # the right number of other classes
        image_folder.read_official(root)
    monkeypatch.setattr(image_folder, "OFFICIAL_WNIDS", hashlib.sha256(b"n00000000\nn00000001").hexdigest())
    monkeypatch.setattr(image_folder, "OFFICIAL_TARS", (10_240, tar_of(root / "val")))
    with pytest.raises(UserError, match="the files of train/ make a tar of [0-9,]+ bytes or more, not of 10,240; "):
        image_folder.read_official(root)  # classes and numbers of images are right
    monkeypatch.setattr(image_folder, "OFFICIAL_TARS", (tar_of(root / "train", nested=True), tar_of(root / "val")))
    given = {"root": str(root), "cache": tmp_path / "kept"}
    assert module(tmp_path, source="official", **given).is_official
    assert not module(tmp_path, source="official", subset=1, **given).is_official
    assert not module(tmp_path, source="folder", **given).is_official


def test_more_validation_images_than_there_are_is_refused(embedded: Path) -> None:
    with pytest.raises(UserError, match="data.validation: 300 is not in 0..299"):
        module(embedded, validation=300)


def test_validation_images_leave_the_training_set(embedded: Path) -> None:
    data = module(embedded, validation=50, **CHANNELS)
    assert (data.n_train, len(data.files["validation"]), data.n_test) == (250, 50, 60)
    kept, out = ({bytes(name) for name in data.files[split].names} for split in ("train", "validation"))
    assert not kept & out
    assert sum(len(y) for _, y in data.test_batches(split="validation")) == 50
    assert data.fingerprint == module(embedded, **CHANNELS).fingerprint


# A file that cannot be read, met in training


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_tells_the_path(tmp_path: Path, workers: int) -> None:
    root = small_tree(tmp_path / "tree")
    path = root / "train" / "n00000000" / "n00000000_1.JPEG"
    cut_short(path)
    data = module(tmp_path, source="folder", root=str(root), workers=workers, batch_size=6, **CHANNELS)
    item = next(iter(data.train_dataloader()))
    assert isinstance(item, Failure)
    with pytest.raises(UserError, match=re.escape(f"{path}: not a whole JPEG or PNG")) as caught:
        data.transfer_batch_to_device(item, torch.device("cpu"), 0)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=re.escape(str(path))):
        module(tmp_path, source="folder", root=str(root), workers=workers)  # the mean image


def test_all_processes_end_when_one_meets_a_bad_file(tmp_path: Path) -> None:
    root = small_tree(tmp_path / "tree", train=20)
    order = epoch_order(0, 0, 40).tolist()
    place = next(p for p in range(8, 40) if p % 4 >= 2)  # positions 2 and 3 of a batch are the second process's
    cut_short(image_folder.read_tree(root).train.path(order[place]))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.helpers.imagenet_ranks", str(root)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert f"rank 1: {root}" in done.stderr
    assert "not a whole JPEG or PNG" in done.stderr
    assert time.monotonic() - began < 60


# The embedded set

# SHA-256 of the first image of each class as drawn.
PIXELS = "65f08e1e197e4d27c1d9b3be41ee5b048f1929c61b5276ead1669873c7ef0e58"


@pytest.mark.arithmetic
def test_the_embedded_set_is_the_same_everywhere() -> None:
    digest = hashlib.sha256()
    for label, form in enumerate(FORMS.values()):
        digest.update(imagenet.draw(form, 0, label).contiguous().numpy().data.cast("B"))
    assert digest.hexdigest() == PIXELS


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_the_embedded_set_has_sizes_and_kinds(embedded: Path) -> None:
    data = module(embedded, **CHANNELS)
    assert (data.n_train, data.n_test, len(data.classes)) == (300, 60, 10)
    opened = [Image.open(data.files["train"].path(i)) for i in range(0, 300, 30)]
    assert [(image.format, image.mode) for image in opened[:4]] == [
        ("PNG", "RGB"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("JPEG", "RGB"),
    ]
    assert "progressive" in opened[3].info
    sizes = {Image.open(data.files["train"].path(i)).size for i in range(300)}
    assert min(min(size) for size in sizes) < 80
    assert max(max(size) for size in sizes) > 300
    assert any(size[0] < size[1] for size in sizes)


def test_the_embedded_set_is_written_once(embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (embedded / "imagenet-shapes-1").stat().st_mtime_ns
    imagenet.write_shapes(embedded)
    assert (embedded / "imagenet-shapes-1").stat().st_mtime_ns == before
    monkeypatch.setattr(imagenet, "TRAIN", 1)
    monkeypatch.setattr(imagenet, "VAL", 1)
    write = imagenet._write_all

    def slower(root: Path) -> None:
        """Another process finishes first."""
        write(root)
        monkeypatch.setattr(imagenet, "_write_all", write)
        imagenet.write_shapes(tmp_path)

    monkeypatch.setattr(imagenet, "_write_all", slower)
    assert imagenet.write_shapes(tmp_path) == tmp_path / "imagenet-shapes-1"
    assert [path.name for path in tmp_path.iterdir()] == ["imagenet-shapes-1"]  # nothing is left beside it
    assert len(list((tmp_path / "imagenet-shapes-1").glob("*/*/*.JPEG"))) == 20


@pytest.mark.parametrize("flat", [False, True], ids=["class folders", "a flat val/"])
def test_val_alone_is_enough_to_test_weights_by_others(embedded: Path, tmp_path: Path, flat: bool) -> None:
    whole = module(embedded, **CHANNELS)
    val, names = tmp_path / "val", []
    for index in range(whole.n_test):
        path = whole.files["test"].path(index)
        place = val / path.name if flat else val / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        names.append(f"{path.name} {path.parent.name}\n")
    if flat:
        (tmp_path / "val_labels.txt").write_text("".join(names))
    values: dict[str, Any] = {"batch_size": 8, "seed": 1, "iterations": 100, "crop": 32, "shorter_side": (36, 60)}
    alone = ImageNetDataModule(source="folder", root=str(tmp_path), test_side=40, cache=embedded, **(values | CHANNELS))
    alone.setup("test")
    assert (alone.n_train, alone.n_test, alone.classes) == (0, whole.n_test, whole.classes)
    assert alone.description.endswith("validation images only")
    assert not alone.is_official
    for (x, y), (same_x, same_y) in zip(alone.test_batches("cpu"), whole.test_batches("cpu"), strict=True):
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)
    with pytest.raises(UserError, match="train: no such folder"):
        ImageNetDataModule(source="folder", root=str(tmp_path), cache=embedded, **values).setup(
            "test"
        )  # needs the mean image
