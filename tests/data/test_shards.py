"""Pre-decoded training images: the pixels of the files, the same draws, whole or not at all, and what is refused."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from paper_tables.__main__ import main as paper_tables
from reproduce.__main__ import main
from reproduce.config.load import resolve
from reproduce.data.imagenet import resize_on_device as resample_module
from reproduce.data.imagenet import shards as shards_module
from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.data.imagenet.decode import read_image
from reproduce.data.imagenet.resize_on_device import CropRegions, pack, resample
from reproduce.data.imagenet.shards import Shards
from reproduce.data.imagenet.transforms import region, resize_shorter, training_crop
from reproduce.data.imagenet.write_shards import PART, predecode
from reproduce.utils.errors import UserError
from tests.helpers.images import CHANNELS, cut_short, jpeg, module, small_tree, smooth

CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten training images of 40x50 to 80x90 pixels, in shards of four."""
    monkeypatch.setattr(shards_module, "IMAGES", 4)
    folder = small_tree(tmp_path / "data", train=5)
    for k, path in enumerate(sorted((folder / "train").rglob("*.JPEG"))[:4]):
        path.write_bytes(jpeg(smooth(80 - 10 * k, 90, k)))
    return folder


def of(root: Path, **given: Any) -> ImageNetDataModule:
    return module(root / "cache", **({"source": "folder", "root": str(root)} | CHANNELS | given))


def test_small_images_are_the_pixels_of_their_files(root: Path) -> None:
    shards = predecode(root, 480, None, 0)
    assert [path.name for path in sorted(shards.folder.iterdir())] == [
        f"train-0000{k}-of-00003.safetensors" for k in range(3)
    ]
    files, stored = of(root), of(root, predecoded=480)
    for iteration in (0, 3):
        for one, other in zip(files.train_batch(iteration), stored.train_batch(iteration), strict=True):
            assert torch.equal(one, other)
    assert files.fingerprint == stored.fingerprint
    assert stored.description == "folder of images, 2 classes, training images pre-decoded (shorter side at most 480)"


def test_large_images_are_shrunk_once_and_their_crops_lie_where_they_lay(root: Path) -> None:
    """The draws are those of the file: only the pixels between are fewer."""
    shards = predecode(root, 44, None, 0)
    assert min(shards.image(0).shape[1:]) == 44
    files, stored = of(root), of(root, predecoded=44)
    for row in range(10):
        image = read_image(files.files["train"].path(row))
        assert torch.equal(shards.image(row), resize_shorter(image, 44) if min(image.shape[1:]) > 44 else image)
    (x, y), (u, v) = files.train_batch(1), stored.train_batch(1)
    assert torch.equal(y, v)
    assert not torch.equal(x, u)
    apart, shuffled = (x - u).abs().mean(), (x - u.roll(1, 0)).abs().mean()
    assert apart < 0.2 * shuffled


@pytest.mark.parametrize("given", [{"subset": 2}, {"validation": 3}, {"subset": 3, "validation": 2}])
def test_parts_of_the_training_set_find_their_images(root: Path, given: dict[str, int]) -> None:
    predecode(root, 480, None, 0)
    files, stored = of(root, **given), of(root, predecoded=480, **given)
    assert stored.n_train < 10
    assert torch.equal(files.train_batch(2)[0], stored.train_batch(2)[0])


def cut_and_cropped() -> tuple[CropRegions, Tensor]:
    """What forty crops cover, up and down, wide and high, mirrored or not; and the crops as workers make them."""
    shapes = [(60, 80), (91, 50), (40, 40), (200, 41), (64, 64)] * 8
    images = [smooth(*shape, seed) for seed, shape in enumerate(shapes)]
    drawn = [(36 + 5 * k % 60, 2**32 // 41 * k, 2**32 // 43 * k) for k in range(len(images))]
    flip = torch.arange(len(images)) % 2 == 0
    cuts = pack([region(image, *move, 32) for image, move in zip(images, drawn, strict=True)], flip)
    crops = [training_crop(image, *move, 32) for image, move in zip(images, drawn, strict=True)]
    return cuts, torch.stack([crop.flip(2) if mirror else crop for crop, mirror in zip(crops, flip, strict=True)])


def test_a_device_resizes_what_was_cut_to_the_same_crop() -> None:
    """A worker's crop rounds twice, so one grey level may lie between."""
    cuts, wanted = cut_and_cropped()
    found = resample(cuts, 32, CPU)
    assert (found.int() - wanted.int()).abs().max() <= 1
    assert found.dtype == torch.uint8


def test_in_half_precision_as_on_a_gpu_it_is_within_a_grey_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no darker or brighter on average. On this device the products are in half precision from here on."""
    cuts, wanted = cut_and_cropped()
    exact = resample(cuts, 32, CPU)
    monkeypatch.setitem(resample_module.DTYPES, "cpu", torch.half)
    found = resample(cuts, 32, CPU)
    assert not torch.equal(found, exact)  # it was in half precision
    for other in (exact, wanted):
        difference = found.double() - other.double()
        assert difference.abs().max() <= 1
        assert abs(float(difference.mean())) < 0.05


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_give_the_same_shares_in_order(root: Path, workers: int) -> None:
    predecode(root, 480, None, 0)
    data = of(root, predecoded=480, resize_on_device=True, workers=workers, batch_size=4)
    data.start_iteration = 3
    alone = of(root, predecoded=480, batch_size=4)
    batches = [data.transfer_batch_to_device(item, CPU, 0)[0] for item in data.train_dataloader()]
    assert len(batches) == len(data.train_dataloader()) == 7
    for iteration, (carried, (x, y)) in enumerate(batches, 3):
        assert carried == iteration
        wanted = alone.train_batch(iteration)
        assert torch.equal(y, wanted[1])
        assert (x - wanted[0]).abs().max() <= 1.01 / (255 * 0.2)  # a grey level


def test_what_is_missing_is_written_and_the_rest_left_alone(root: Path) -> None:
    shards = predecode(root, 480, None, 0)
    content = [shards.path(k).read_bytes() for k in range(3)]
    kept = shards.path(0).stat().st_mtime_ns
    shards.path(1).unlink()
    shards.path(2).write_bytes(content[2][:-1])
    (shards.folder / f"{PART}killed").mkdir()
    predecode(root, 480, None, 0)
    assert [shards.path(k).read_bytes() for k in range(3)] == content
    assert shards.path(0).stat().st_mtime_ns == kept
    assert len(list(shards.folder.iterdir())) == 3


def test_a_writer_that_is_killed_leaves_whole_shards_and_goes_on(root: Path) -> None:
    slow = "import time; from reproduce.data.imagenet import shards, write_shards as p\n"
    slow += "shards.IMAGES = 1; kept = p.save_file\n"
    slow += "def save(*a):\n    kept(*a); time.sleep(0.2)\np.save_file = save\n"
    command = f"{slow}from pathlib import Path; p.predecode(Path({str(root)!r}), 480, None, 0)"
    writer = subprocess.Popen([sys.executable, "-c", command])
    folder, began = root / "shards-480", time.monotonic()
    while len(list(folder.glob("train-*"))) < 2 and time.monotonic() - began < 60:
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    shards_module.IMAGES = 1  # undone by the fixture
    found = Shards(folder, 480, "", 10)
    there = [k for k in range(10) if found.path(k).exists()]
    assert 2 <= len(there) < 10
    times = [found.path(k).stat().st_mtime_ns for k in there]
    shards = predecode(root, 480, None, 0)
    assert [shards.state(k) for k in range(10)] == ["whole"] * 10
    assert [found.path(k).stat().st_mtime_ns for k in there] == times
    assert len(list(folder.iterdir())) == 10


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def nonsense(path: Path) -> None:
    path.write_text("no shard")


def swap(path: Path) -> None:
    shutil.copy(path.with_name("train-00002-of-00003.safetensors"), path)


@pytest.mark.parametrize(
    ("harm", "said"),
    [(Path.unlink, "is not there"), (truncate, "is damaged"), (nonsense, "is damaged"), (swap, "other images")],
)
def test_a_bad_shard_is_named_with_the_cure(root: Path, harm: Any, said: str) -> None:
    path = predecode(root, 480, None, 0).path(1)
    harm(path)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: .*{said}.*SHARDS"):
        of(root, predecoded=480)


def test_a_flipped_bit_is_found_where_every_pixel_is_read(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training looks at form and length only: reading 500 gigabytes first would cost more than it saves."""
    shards = predecode(root, 480, None, 0)
    words = ["check-data", "--root", str(root), "--side", "480"]
    assert main([*words, "--decode"]) == 0
    assert "3 shards read, 0 failed" in capsys.readouterr().out
    path = shards.path(1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the last pixel
    path.write_bytes(content)
    assert shards.state(1) == "whole"
    assert main(words) == 0
    assert "3 shards looked at, 0 failed" in capsys.readouterr().out
    assert main([*words, "--decode"]) == 1
    said = capsys.readouterr().out
    assert f"{path}: does not hold the pixels that were written; remove it, and" in said
    assert "3 shards read, 1 failed" in said
    path.unlink()
    assert main([*words[:3], "--shards", str(shards.folder)]) == 1
    assert f"{path}: is not there; `make imagenet-shards`" in capsys.readouterr().out
    predecode(root, 480, None, 0)
    assert main([*words, "--decode"]) == 0


def test_shards_of_other_images_are_refused(root: Path) -> None:
    predecode(root, 480, root / "s", 0)
    for side in (480, 64):
        other = root if side == 64 else small_tree(root / "other", train=6)
        with pytest.raises(UserError, match="other images, another side"):
            predecode(other, side, root / "s", 0)
    path = sorted((root / "train").rglob("*.JPEG"))[0]
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="other images, another side"):
        of(root, predecoded=480, shards=root / "s")


def test_testing_alone_asks_for_no_shards(root: Path) -> None:
    data = ImageNetDataModule(**_given(root))
    data.setup("test")
    assert len(list(data.test_batches())) == 1
    with pytest.raises(UserError, match="is not there"):
        data.train_batch(0)


def _given(root: Path) -> dict[str, Any]:
    small = {"crop": 32, "shorter_side": (36, 60), "test_side": 40, "cache": root / "cache", "predecoded": 480}
    return small | CHANNELS | {"source": "folder", "root": str(root), "batch_size": 8, "seed": 1, "iterations": 9}


# The command line


def test_a_small_disk_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=20_000))
    assert main(["imagenet-shards", "--root", str(root)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(r"shards-480: 0.0 GB are needed there and 0.0 GB are free; name a larger disk", said)
    assert not (root / "shards-480").exists()


def test_a_bad_image_or_folder_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sorted((root / "train").rglob("*.JPEG"))[5]
    cut_short(path)
    for words, said in (
        (["--root", str(root)], str(path)),
        (["--root", str(root / "no")], "no such folder"),
        ([], "DATA"),
    ):
        assert main(["imagenet-shards", *words]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert said in err
    assert main(["imagenet-shards", "--root", str(root), "--side", "8"]) == 2


def test_the_command_says_how_to_train_from_them(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["imagenet-shards", "--root", str(root), "--side", "44", "--shards", str(tmp_path / "s")]) == 0
    assert f"data.predecoded=44 data.shards={tmp_path / 's'}" in capsys.readouterr().out


# What it is called


def test_the_side_is_part_of_the_recipe_and_the_place_is_not() -> None:
    def run(*words: str) -> Any:
        return resolve("imagenet-resnet-18-A", "paper", words)

    plain, side = run(), run("data.predecoded=480")
    assert plain.profile == "paper"
    assert side.profile.startswith("paper+")
    placed = run("data.predecoded=480", "data.shards=/home/me/x")
    assert placed.profile == side.profile
    assert placed.recipe_hash == side.recipe_hash != plain.recipe_hash
    assert "data.predecoded" not in plain.recipe()
    assert "/home/me" not in placed.command() + str(placed.to_public_dict())
    assert "data.shards=$SHARDS" in placed.command()
    with pytest.raises(UserError, match="data.predecoded"):
        run("data.predecoded=8")
    with pytest.raises(UserError, match="there is no such key"):
        resolve("cifar10-resnet-20", "paper", ["data.predecoded=480"])


def test_official_images_that_were_predecoded_are_not_the_papers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reproduce.data.imagenet import image_folder

    monkeypatch.setattr(image_folder.Tree, "is_official", lambda self: True)
    predecode(root, 480, None, 0)
    assert of(root, source="official").is_official
    stored = of(root, source="official", predecoded=480)
    assert not stored.is_official
    assert stored.description.startswith("ImageNet-2012, official, training images pre-decoded")


def test_a_view_of_a_shard_is_not_read_whole(root: Path) -> None:
    """Regions are cut from the mapped file: no pixel is copied before."""
    image: Tensor = predecode(root, 480, None, 0).image(0)
    part, _ = region(image, 60, 0, 0, 32)
    assert part.untyped_storage().data_ptr() == image.untyped_storage().data_ptr()


def test_a_result_says_that_its_images_were_predecoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From shards to the report: the synthetic images, three iterations, workers and threads."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "imagenet-resnet-18-A", "--profile", "smoke", "data.predecoded=480", "execution.workers=1"]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "train-00000-of-00001.safetensors: is not there; `make imagenet-shards`" in said
    assert main(["imagenet-shards", "--root", "runs/cache/imagenet-shapes-1", "--shards", "s"]) == 0
    assert main([*words, "data.shards=s"]) == 0
    (path,) = Path("results").glob("smoke+*/imagenet-resnet-18-A/seed-0/result.json")
    found = json.loads(path.read_text())["provenance"]
    assert found["config"]["data"] | {"predecoded": 480, "shards": "$SHARDS"} == found["config"]["data"]
    assert "data.shards=$SHARDS" in found["command"]
    assert "pre-decoded (shorter side at most 480)" in found["data"]["description"]
    assert main(["evaluate", *words[1:]]) == 0
    assert "pre-decoded (shorter side at most 480)" in capsys.readouterr().out
    assert paper_tables(["headline", "--profile", path.parts[1]]) == 0
    assert "pre-decoded (shorter side at most 480)" in capsys.readouterr().out
