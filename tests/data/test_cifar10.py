"""The data stage: keyed draws, augmentation, the three sources, splits, shards and the loaders' iterations."""

import hashlib
import io
import pickle
import tarfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from reproduce.data.cifar10 import datamodule, download
from reproduce.data.cifar10.augment import crop_flip, draw, normalize
from reproduce.data.cifar10.datamodule import Cifar10DataModule
from reproduce.data.cifar10.folder import read_folder
from reproduce.data.cifar10.images import Images
from reproduce.data.sampling import ORDER, epoch_order, hash32
from reproduce.data.synthetic import cifar10
from reproduce.utils.errors import UserError

MASK = 2**32 - 1
SYNTHETIC_FINGERPRINT = "sha256:1a626d72dc82e5069113058d3101dcc7eb9aad3a44eda8bd209eac19748c2103"


def random_images(n_train: int, n_test: int = 10, classes: int = 5) -> Images:
    generator = torch.Generator().manual_seed(n_train)

    def pixels(n: int) -> Tensor:
        return torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)

    names = [f"class {k}" for k in range(classes)]
    labels = torch.arange(n_train) % classes, torch.arange(n_test) % classes
    return Images(pixels(n_train), labels[0], pixels(n_test), labels[1], names, "random images")


def module(images: Images, monkeypatch: pytest.MonkeyPatch, **given: Any) -> Cifar10DataModule:
    """A set-up DataModule over the given images."""
    monkeypatch.setitem(datamodule.READERS, "synthetic", lambda root: images)
    values: dict[str, Any] = {
        "source": "synthetic",
        "root": "",
        "batch_size": 8,
        "seed": 1,
        "iterations": 1000,
        "test_every": 100,
    }
    data = Cifar10DataModule(**(values | given))
    data.setup()
    return data


# Keyed draws


def slow_hash32(*words: int) -> int:
    """The definition in plain Python integers."""

    def mix(h: int) -> int:
        h ^= h >> 16
        h = h * 0x7FEB352D % 2**32
        h ^= h >> 15
        h = h * 0x846CA68B % 2**32
        return h ^ (h >> 16)

    h = 0x9E3779B9
    for word in words:
        h = mix((mix(h ^ word % 2**32) + word // 2**32 % 2**32 + h) % 2**32)
    return h


WORDS = [
    (),
    (0,),
    (1,),
    (0, 0),
    (0, 1),
    (1, 0),
    (3, 64_000, 127),
    (2**31 - 1,),
    (2**31,),
    (2**32,),
    (2**63 - 1, 5),
    (-1,),
]


@pytest.mark.parametrize("words", WORDS)
def test_hash32_is_its_definition(words: tuple[int, ...]) -> None:
    assert int(hash32(*words)) == slow_hash32(*words)
    assert int(hash32(*(torch.tensor(word) for word in words))) == slow_hash32(*words)


def test_hash32_golden_values() -> None:
    """Typed constants: a change of the hash changes every published number."""
    assert hash32(0).item() == 2685500393
    assert hash32(7, torch.arange(4)).tolist() == [403351896, 2843437234, 3027925729, 48266097]


def test_hash32_broadcasts_and_stays_in_range() -> None:
    table = hash32(5, torch.arange(3)[:, None], torch.arange(4, dtype=torch.int32))
    assert table.shape == (3, 4)
    assert table.dtype == torch.int64
    assert table[2, 3].item() == slow_hash32(5, 2, 3)
    assert table.min() >= 0
    assert table.max() <= MASK


def test_hash32_is_uniform_and_without_repeats() -> None:
    n = 200_000
    h = hash32(0, 0, torch.arange(n))
    assert len(h.unique()) == n  # one more word is a bijection
    bits = (h[:, None] >> torch.arange(32)) & 1
    assert (bits.double().mean(0) - 0.5).abs().max() < 5 * 0.5 / n**0.5
    neighbours = (h[1:] ^ h[:-1])[:, None] >> torch.arange(32) & 1  # a step of the input changes half of the bits
    assert (neighbours.double().mean(0) - 0.5).abs().max() < 5 * 0.5 / n**0.5


def test_epoch_order_is_a_permutation_for_each_epoch_and_seed() -> None:
    orders = [epoch_order(seed, epoch, 1000) for seed, epoch in ((0, 0), (0, 1), (1, 0), (2**32, 0))]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(1000))
    for i, order in enumerate(orders):
        assert all((order == other).sum() < 10 for other in orders[:i])
    keys = [slow_hash32(0, 1, i, ORDER) for i in range(1000)]
    assert orders[1].tolist() == sorted(range(1000), key=keys.__getitem__)


def test_orders_and_crops_share_no_hash() -> None:
    """Each purpose has a word of its own in the hash: else an epoch's order would sort the crops of one iteration."""
    row, column, flip = draw(3, torch.tensor(5), torch.arange(2000))
    case = ((9 * row + column) * 2 + flip)[epoch_order(3, 5, 2000)].double()
    correlation = torch.corrcoef(torch.stack([case, torch.arange(2000).double()]))[0, 1]
    assert abs(correlation) < 5 / 2000**0.5


def test_draws_are_uniform_over_all_crops_and_flips() -> None:
    row, column, flip = draw(3, torch.arange(500)[:, None], torch.arange(128))
    assert row.shape == (500, 128)
    counts = torch.bincount((row * 18 + column * 2 + flip).flatten(), minlength=162)
    assert len(counts) == 162
    expected = 64_000 / 162
    assert ((counts - expected) ** 2 / expected).sum() < 240  # chi-squared, 161 degrees of freedom, p about 1e-4


# Augmentation and normalisation


def test_crop_and_flip_equal_a_loop_over_images() -> None:
    images = torch.rand(20, 3, 32, 32)
    row, column, flip = draw(0, torch.tensor([[4]]), torch.arange(20))
    row, column, flip = row[0], column[0], flip[0]
    row[:2], column[:2], flip[:4] = torch.tensor([0, 8]), torch.tensor([8, 0]), torch.tensor([0, 1, 0, 1]).bool()
    result = crop_flip(images, row, column, flip)
    for k in range(20):
        padded = np.zeros((3, 40, 40), dtype=np.float32)
        padded[:, 4:36, 4:36] = images[k].numpy()
        crop = padded[:, row[k] : row[k] + 32, column[k] : column[k] + 32]
        assert np.array_equal(result[k].numpy(), crop[:, :, ::-1] if flip[k] else crop)


def test_the_middle_crop_is_the_image_itself() -> None:
    images = torch.rand(2, 3, 32, 32)
    four = torch.tensor([4, 4])
    assert torch.equal(crop_flip(images, four, four, torch.tensor([False, False])), images)


def test_per_pixel_mean_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(30), monkeypatch, scale=64.0, validation=10)
    x, y = next(data.test_batches())
    mean = data.train_images.numpy().astype(np.float64).mean(0)
    np.testing.assert_allclose(x.numpy(), (data.test_images.numpy() - mean) / 64, atol=1e-5)
    assert torch.equal(y, data.test_labels)
    assert x.dtype == torch.float32


def test_channels_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    data = module(random_images(30), monkeypatch, normalize="channels", mean=mean, std=std)
    x, _ = next(data.test_batches())
    expected = (data.test_images.numpy() / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-5)


def test_a_padded_pixel_is_zero_after_the_mean_subtraction(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(64)
    white = Images(images.train_images | 255, images.train_labels, *_test_part(images), images.classes, "white")
    black_mean = {"normalize": "channels", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    x, _ = module(white, monkeypatch, batch_size=64, **black_mean).train_batch(0)
    row, column, flip = draw(1, torch.tensor(0), torch.arange(64))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    rows = 32 - (row - 4).abs()  # rows and columns of each crop that lie on the image
    columns = 32 - (column - 4).abs()
    assert torch.equal(x[:, 0].sum((1, 2)).long(), rows * columns)


def _test_part(images: Images) -> tuple[Tensor, Tensor]:
    return images.test_images, images.test_labels


def test_a_training_batch_from_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(50), monkeypatch, batch_size=8, seed=9)
    x, y = data.train_batch(13)  # positions 104..111, epoch 2
    index = epoch_order(9, 2, 50)[torch.arange(4, 12)]
    offset = data.train_images.double().mean(0).float()
    row, column, flip = draw(9, torch.tensor(13), torch.arange(8))
    whole = normalize(data.train_images[index], offset, torch.ones(3, 1, 1))
    assert torch.equal(x, crop_flip(whole, row, column, flip))
    assert torch.equal(y, data.train_labels[index])


def test_shrunk_images_are_means_over_squares_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(50)
    data = module(images, monkeypatch, side=16)
    square = images.test_images[0, 1, 4:6, 10:12].double()
    assert int(data.test_images[0, 1, 2, 5]) == int(square.mean() + 0.5)
    x, _ = data.train_batch(3)
    assert x.shape == (8, 3, 16, 16)
    assert data.description == "random images, shrunk to 16x16 pixels"
    assert data.fingerprint != module(images, monkeypatch).fingerprint


def test_shrunk_images_are_padded_in_proportion() -> None:
    row, column, _ = draw(0, torch.arange(100)[:, None], torch.arange(50), side=16)
    assert [int(part) for part in (row.min(), row.max(), column.min(), column.max())] == [0, 4, 0, 4]
    image = torch.arange(1.0, 257.0).view(1, 1, 16, 16)
    moved = crop_flip(image, torch.tensor([0]), torch.tensor([4]), torch.tensor([False]))
    assert torch.equal(moved[0, 0, 2:, :-2], image[0, 0, :-2, 2:])
    assert moved[0, 0, :2].abs().sum() == moved[0, 0, :, -2:].abs().sum() == 0


def test_channels_last_changes_the_layout_only(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = module(random_images(50), monkeypatch).train_batch(3)
    assert x.is_contiguous()
    data = module(random_images(50), monkeypatch, channels_last=True)
    xl, _ = data.train_batch(3)
    assert xl.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, xl)
    assert next(data.test_batches())[0].is_contiguous(memory_format=torch.channels_last)


# The stream


def indices(data: Cifar10DataModule, iteration: int) -> list[int]:
    return data._stream.indices(torch.tensor([iteration]), torch.arange(data.batch_size))[0].tolist()


def test_every_image_once_per_epoch_and_batches_span_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(50), monkeypatch, batch_size=8)
    seen = [
        index for i in range(25) for index in indices(data, i)
    ]  # 200 positions: 4 epochs of 50, none a multiple of 8
    for epoch in range(4):
        assert sorted(seen[epoch * 50 : (epoch + 1) * 50]) == list(range(50))
    assert seen[:50] != seen[50:100]


def test_a_batch_larger_than_the_set_takes_several_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(5), monkeypatch, batch_size=20)
    assert sorted(indices(data, 3)) == sorted(list(range(5)) * 4)
    assert data.train_batch(3)[0].shape == (20, 3, 32, 32)


@pytest.mark.parametrize("world", [2, 4])
def test_n_processes_see_the_batches_of_one(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(50), monkeypatch, batch_size=8)
    for iteration in (0, 6, 77):  # 6: the batch spans two epochs
        x, y = data.train_batch(iteration)
        parts = [data.train_batch(iteration, rank, world) for rank in range(world)]
        assert torch.equal(x, torch.cat([part for part, _ in parts]))
        assert torch.equal(y, torch.cat([part for _, part in parts]))


def test_an_iteration_after_a_restart_is_what_it_would_have_been(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(50)
    straight = module(images, monkeypatch)
    batches = [straight.train_batch(i) for i in range(40)]
    for start in (1, 6, 25, 39):
        restarted = module(images, monkeypatch)
        for i in range(start, 40):
            x, y = restarted.train_batch(i)
            assert torch.equal(x, batches[i][0])
            assert torch.equal(y, batches[i][1])


def test_several_iterations_at_once_are_the_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(50), monkeypatch)
    pairs = data.train_batches(torch.arange(4, 11), rank=1, world=2)
    assert len(pairs) == 7
    for i, (x, y) in zip(range(4, 11), pairs, strict=True):
        single = data.train_batch(i, rank=1, world=2)
        assert torch.equal(x, single[0])
        assert torch.equal(y, single[1])


def test_seeds_and_iterations_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(50)
    a, b = module(images, monkeypatch, seed=0), module(images, monkeypatch, seed=2**32)
    assert not torch.equal(a.train_batch(0)[0], b.train_batch(0)[0])
    assert not torch.equal(a.train_batch(0)[0], a.train_batch(1)[0])


def test_the_global_random_stream_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(50), monkeypatch)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    data.train_batch(0)
    list(data.train_dataloader())
    list(data.val_dataloader()[0])
    assert torch.equal(before, torch.get_rng_state())


def test_a_batch_that_does_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(50), monkeypatch)
    with pytest.raises(UserError, match=r"train\.batch_size: 8 is not divisible by 3 processes"):
        data.train_batch(0, 0, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device (make test-gpu)")
def test_cuda_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(1000), monkeypatch, batch_size=128, scale=3.0)
    for iteration in (0, 7, 2**33):
        (x, y), (x_cuda, y_cuda) = data.train_batch(iteration), data.train_batch(iteration, device="cuda")
        assert torch.equal(x, x_cuda.cpu())
        assert torch.equal(y, y_cuda.cpu())


# Subset, validation split, shards


def test_subset_takes_the_first_images_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(50, 20, classes=5)
    shuffled = torch.randperm(50, generator=torch.Generator().manual_seed(0)) % 5
    images = Images(images.train_images, shuffled, *_test_part(images), images.classes, "shuffled")
    data = module(images, monkeypatch, subset=3)
    assert data.train_labels.bincount().tolist() == data.test_labels.bincount().tolist() == [3] * 5
    taken = sorted(i for k in range(5) for i in torch.nonzero(shuffled == k).flatten().tolist()[:3])
    assert torch.equal(data.train_images, images.train_images[taken])
    assert torch.equal(data.train_labels, shuffled[taken])
    assert data.fingerprint != module(images, monkeypatch).fingerprint


def test_the_validation_split(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(400, classes=2)
    by_class = Images(images.train_images, torch.arange(400) // 200, *_test_part(images), images.classes, "sorted")
    whole, split = module(by_class, monkeypatch), module(by_class, monkeypatch, validation=100, seed=5)
    assert (split.n_train, len(split.validation_labels), split.n_test, whole.n_train) == (300, 100, 10, 400)
    parts = torch.cat([split.train_images, split.validation_images]).flatten(1)
    assert torch.equal(parts.unique(dim=0), by_class.train_images.flatten(1).unique(dim=0))  # disjoint and complete
    assert 30 < split.validation_labels.sum() < 70  # class-blind also where the files are sorted by class
    assert split.fingerprint == whole.fingerprint  # of the data, before the split
    assert torch.equal(split.test_images, whole.test_images)
    other_seed = module(by_class, monkeypatch, validation=100, seed=6)
    assert torch.equal(other_seed.validation_images, split.validation_images)
    assert sum(len(y) for _, y in split.test_batches(split="validation", size=30)) == 100


@pytest.mark.parametrize("validation", [-1, 50, 5000])
def test_an_impossible_validation_split_is_refused(validation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"data\.validation: -?\d+ is not in 0\.\.49"):
        module(random_images(50), monkeypatch, validation=validation)


@pytest.mark.parametrize("n", [1, 2, 3, 97, 100, 101])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_test_image_is_counted_once(n: int, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(10, n), monkeypatch)
    for size in (1, 16, 1000):
        shards = [list(data.test_batches("cpu", rank, world, size)) for rank in range(world)]
        assert (
            len({len(shard) for shard in shards}) == 1
        )  # ranks that wait for each other need equal numbers of batches
        seen = torch.cat([x for shard in shards for x, _ in shard])
        expected = normalize(data.test_images, data._offset, data._divisor)
        assert len(seen) == n
        assert torch.equal(seen.flatten(1).unique(dim=0), expected.flatten(1).unique(dim=0))
        one = torch.cat([y for _, y in shards[0]])
        assert torch.equal(one, data.test_labels[::world])


# Loaders


def iterations(data: Cifar10DataModule) -> list[list[int]]:
    return [item.tolist() for item in data.train_dataloader()]


def test_a_loader_covers_one_test_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(random_images(50), monkeypatch, test_every=4, iterations=10)
    assert iterations(data) == [[0], [1], [2], [3]]
    data.start_iteration = 6  # continued in the middle of an interval
    assert iterations(data) == [[6], [7]]
    data.start_iteration = 8
    assert iterations(data) == [[8], [9]]  # the last interval ends with the training
    data.start_iteration = 10
    assert iterations(data) == []


@pytest.mark.parametrize("start", [0, 37, 100, 150, 199, 730])
@pytest.mark.parametrize(("test_every", "chunk"), [(250, 50), (1000, 64), (70, 500), (25, 1)])
def test_no_item_crosses_a_test(start: int, test_every: int, chunk: int, monkeypatch: Any) -> None:
    data = module(random_images(50), monkeypatch, test_every=test_every, chunk=chunk, iterations=740)
    data.start_iteration = start
    items = iterations(data)
    end = min((start // test_every + 1) * test_every, 740)
    assert [i for item in items for i in item] == list(range(start, end))
    assert len(data.train_dataloader()) == len(items)
    for item in items:
        assert len(item) <= chunk
        assert item[0] // test_every == item[-1] // test_every


class Collector(L.LightningModule):
    """Keeps what the Trainer hands it."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.train_batches: list[Any] = []
        self.test_labels: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.train_batches.extend(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        assert batch[0].dtype == torch.float32
        self.test_labels.append(batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_under_the_trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = module(random_images(50, 17), monkeypatch, test_every=6, chunk=4, iterations=12)
    data.start_iteration = 1
    model, quiet = Collector(), {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **quiet,  # type: ignore[arg-type]
    )
    trainer.fit(model, datamodule=data)
    assert len(model.train_batches) == 5
    for i, (iteration, (x, y)) in enumerate(model.train_batches, start=1):
        assert iteration == i
        assert torch.equal(x, data.train_batch(i)[0])
        assert torch.equal(y, data.train_batch(i)[1])
    assert torch.equal(torch.cat(model.test_labels), data.test_labels)


# Source: official


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


@pytest.fixture
def binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a small data set in the official format, whose MD5s replace torchvision's."""
    write_binaries(tmp_path / "data", str, monkeypatch)
    return tmp_path / "data"


def write_binaries(root: Path, string: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`string`: what Python 2's strings came back as, str or str.encode."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    for name in names:
        pixels = generator.integers(0, 256, (6, 3072), dtype=np.uint8)
        labels = generator.integers(0, 10, 6).tolist()
        (folder / name).write_bytes(pickle.dumps({string("data"): pixels, string("labels"): labels}))
    classes = [string(f"name {k}") for k in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({string("label_names"): classes, string("num_vis"): 3072}))
    patch_sums(folder, monkeypatch)


def patch_sums(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(name: str) -> list[str]:
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    monkeypatch.setattr(CIFAR10, "train_list", [entry(f"data_batch_{k}") for k in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [entry("test_batch")])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": entry("batches.meta")[1]})


def pack(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the unpacked batches by the archive."""
    folder, archive = root / "cifar-10-batches-py", root / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


def official_module(root: Path, **given: Any) -> Cifar10DataModule:
    data = Cifar10DataModule(source="official", root=str(root), batch_size=8, seed=0, iterations=10, **given)
    data.prepare_data()
    data.setup()
    return data


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("Network is\nunreachable")

    monkeypatch.setattr(download, "download_url", fail)


def test_official_batches_are_read_without_a_network(binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    data = official_module(binaries)
    assert (data.n_train, data.n_test) == (30, 6)
    assert data.classes == [f"name {k}" for k in range(10)]
    assert data.description == "CIFAR-10, official binaries"
    entry = pickle.loads((binaries / "cifar-10-batches-py/data_batch_2").read_bytes())
    image = entry["data"][1].reshape(3, 32, 32)  # red plane, green plane, blue plane, each row by row
    assert np.array_equal(data.train_images[7].numpy(), image)
    assert data.train_labels[6:12].tolist() == entry["labels"]
    assert not data.is_official  # 30 images are not the paper's 50,000


def test_official_means_complete(binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datamodule, "OFFICIAL_SIZES", (30, 6))
    assert official_module(binaries).is_official
    assert official_module(binaries, validation=5).is_official
    assert not official_module(binaries, subset=1).is_official


def test_keys_may_be_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = []
    for string in (str, str.encode):
        root = tmp_path / string.__name__
        write_binaries(root, string, monkeypatch)
        modules.append(official_module(root))
    assert modules[0].fingerprint == modules[1].fingerprint
    assert modules[0].classes == modules[1].classes


def test_torchvision_reads_the_same(binaries: Path) -> None:
    data, theirs = official_module(binaries), CIFAR10(str(binaries), train=True)
    assert np.array_equal(data.train_images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert data.train_labels.tolist() == theirs.targets
    assert data.classes == theirs.classes


def test_the_archive_is_read_as_it_is(binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    unpacked = official_module(binaries).fingerprint
    archive = pack(binaries, monkeypatch)
    assert official_module(binaries).fingerprint == unpacked
    assert list(binaries.iterdir()) == [archive]  # nothing is extracted, nothing else is written


def test_the_archive_is_downloaded_whole(binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = official_module(binaries).fingerprint
    archive = pack(binaries, monkeypatch)
    content = archive.read_bytes()
    archive.unlink()

    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        assert url.startswith("https://")
        assert hashlib.md5(content).hexdigest() == md5
        (Path(root) / filename).write_bytes(content)

    monkeypatch.setattr(download, "download_url", fetch)
    assert official_module(binaries).fingerprint == unpacked
    assert list(binaries.iterdir()) == [archive]


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_changed_batch_is_refused_before_it_is_unpickled(name: str, binaries: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = binaries / "cifar-10-batches-py" / name
    path.write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(UserError, match=f"{name}: damaged"):
        official_module(binaries)
    assert not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists()  # the bomb does work


def test_a_changed_archive_is_refused(binaries: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive, canary = pack(binaries, monkeypatch), tmp_path / "canary"
    bomb = pickle.dumps(Bomb(canary))
    with tarfile.open(archive, "w:gz") as tar:
        for name in download._sums():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(bomb)
            tar.addfile(member, io.BytesIO(bomb))
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz: damaged"):
        official_module(binaries)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(UserError, match="data_batch_1: damaged"):
        official_module(binaries)
    assert not canary.exists()


def test_offline_is_one_line_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    with pytest.raises(UserError) as caught:
        official_module(tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(tmp_path / "data"), "cifar-10-python.tar.gz", "cifar-10-batches-py", "data.source=synthetic"):
        assert part in message
    assert list((tmp_path / "data").iterdir()) == []


def test_setup_without_the_data_says_what_is_missing(tmp_path: Path) -> None:
    data = Cifar10DataModule(source="official", root=str(tmp_path), batch_size=8, seed=0, iterations=10)
    with pytest.raises(UserError, match=r"neither cifar-10-python\.tar\.gz nor cifar-10-batches-py/ is there"):
        data.setup()


# Source: folder


def save(path: Path, pixels: np.ndarray, mode: str = "RGB", kind: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, format=kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, two training images and one test image each; every pixel of an image has its number."""
    for k, name in enumerate(
        ["train/b/2.png", "train/b/10.png", "train/a/x.png", "train/a/y.png", "test/a/t.png", "test/b/t.png"]
    ):
        save(tmp_path / name, np.full((32, 32, 3), k, dtype=np.uint8))
    return tmp_path


def test_a_folder_is_read_in_the_order_of_names(folder: Path) -> None:
    (folder / "train/a/.hidden").touch()
    images = read_folder(str(folder))
    assert images.classes == ["a", "b"]
    assert images.train_images.shape == (4, 3, 32, 32)
    assert images.train_images[:, 0, 0, 0].tolist() == [2, 3, 1, 0]  # "10.png" comes before "2.png"
    assert images.train_labels.tolist() == [0, 0, 1, 1]
    assert images.test_images[:, 2, 31, 31].tolist() == [4, 5]
    assert images.description == "folder of images (PNG), 2 classes"
    data = Cifar10DataModule(source="folder", root=str(folder), batch_size=2, seed=0, iterations=5)
    data.setup()
    assert data.fingerprint == images.fingerprint()
    assert not data.is_official


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [("c.jpg", "RGB", None), ("c.JPEG", "L", None), ("c.jpg", "CMYK", None), ("c.png", "L", None), ("c.png", "P", None)]
    + [("c.png", "RGBA", None), ("c.png", "LA", None), ("c.png", "1", None), ("png inside.JPEG", "RGB", "PNG")],
)
def test_other_kinds_of_image_become_rgb(name: str, mode: str, kind: str | None, folder: Path) -> None:
    save(folder / "train/a" / name, np.full((32, 32, 3), 255, dtype=np.uint8), mode, kind)
    images = read_folder(str(folder))
    assert (images.train_images[0].int() - 255).abs().max() <= 1
    jpeg = name.lower().endswith(("jpg", "jpeg")) and kind is None
    assert images.description == f"folder of images ({'JPEG and PNG' if jpeg else 'PNG'}), 2 classes"


def test_colours_and_axes_are_kept(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    save(folder / "test/a/t.png", pixels)
    assert np.array_equal(read_folder(str(folder)).test_images[0].numpy(), pixels.transpose(2, 0, 1))


def break_size(root: Path) -> None:
    save(root / "train/b/bad.png", np.zeros((32, 33, 3), dtype=np.uint8))


def break_content(root: Path) -> None:
    (root / "train/b/bad.png").write_text("no image")


def break_empty(root: Path) -> None:
    (root / "train/b/bad.png").touch()


def break_truncated(root: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    save(root / "train/b/bad.png", noise, kind="JPEG")
    content = (root / "train/b/bad.png").read_bytes()
    (root / "train/b/bad.png").write_bytes(content[: len(content) // 2])


def break_sixteen_bits(root: Path) -> None:
    Image.fromarray(np.full((32, 32), 40_000, dtype=np.uint16)).save(root / "train/b/bad.png")


def break_directory(root: Path) -> None:
    (root / "train/b/bad.png").mkdir()


def break_link(root: Path) -> None:
    (root / "train/b/bad.png").symlink_to("nowhere")


def break_kind(root: Path) -> None:
    save(root / "train/b/bad.png", np.zeros((32, 32, 3), dtype=np.uint8), kind="GIF")


BAD_FILES = [
    break_size,
    break_content,
    break_empty,
    break_truncated,
    break_sixteen_bits,
    break_directory,
    break_link,
    break_kind,
]


@pytest.mark.parametrize("damage", BAD_FILES)
def test_a_bad_file_is_named_in_one_line(damage: Any, folder: Path) -> None:
    damage(folder)
    with pytest.raises(UserError) as caught:
        read_folder(str(folder))
    assert str(caught.value).startswith(str(folder / "train/b/bad.png") + ": ")
    assert "\n" not in str(caught.value)


def test_a_copy_says_how_many_of_its_images_are_exact(folder: Path) -> None:
    first = sorted(folder.glob("train/*/*"))[0].relative_to(folder)
    n = len(list(folder.glob("*/*/*")))
    (folder / "not-exact.txt").write_text(f"{first}\n")
    assert read_folder(str(folder)).description.endswith(f", {n - 1} of {n} images exact")
    (folder / "not-exact.txt").write_text("train/cat/none.png\n")
    with pytest.raises(UserError, match="not-exact.txt: train/cat/none.png: there is no such image"):
        read_folder(str(folder))


def test_bad_folders(folder: Path) -> None:
    (folder / "train/c").mkdir()
    with pytest.raises(UserError, match=r"the class folders of train/ and test/ differ \(c\)"):
        read_folder(str(folder))
    (folder / "test/c").mkdir()
    with pytest.raises(UserError, match=r"train/c: the class is empty"):
        read_folder(str(folder))
    with pytest.raises(UserError, match=r"nothing/train: no such folder"):
        read_folder(str(folder / "nothing"))
    (folder / "void/train").mkdir(parents=True)
    with pytest.raises(UserError, match=r"void/train: no class folders"):
        read_folder(str(folder / "void"))


# Source: synthetic


@pytest.mark.arithmetic
def test_synthetic_images_are_the_same_everywhere_and_made_in_seconds() -> None:
    cifar10._draw_all.cache_clear()
    start = time.process_time()
    images = cifar10.read_synthetic()
    assert time.process_time() - start < 20
    assert images.train_images.shape == (cifar10.N_TRAIN, 3, 32, 32)
    assert images.test_images.shape == (cifar10.N_TEST, 3, 32, 32)
    assert images.train_images.dtype == torch.uint8
    assert images.train_labels.bincount().tolist() == [cifar10.N_TRAIN // 10] * 10
    assert len(images.classes) == 10
    assert images.fingerprint() == SYNTHETIC_FINGERPRINT


def test_synthetic_images_differ() -> None:
    images = cifar10.read_synthetic()
    every = torch.cat([images.train_images, images.test_images]).flatten(1)
    assert len(every[:, ::37].unique(dim=0)) == len(every)


def test_the_mean_colour_does_not_tell_the_class() -> None:
    images = cifar10.read_synthetic()
    colour, test = images.train_images.double().mean((2, 3)), images.test_images.double().mean((2, 3))
    features, test = (torch.cat([c, c.square(), torch.ones(len(c), 1)], 1) for c in (colour, test))
    targets = torch.nn.functional.one_hot(images.train_labels).double()
    weights = torch.linalg.lstsq(features, targets).solution
    error = ((test @ weights).argmax(1) != images.test_labels).double().mean()
    assert error > 0.7


def test_the_fingerprint_is_of_labels_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(4, 2)
    digest = hashlib.sha256()
    for part in (images.train_labels, images.train_images, images.test_labels, images.test_images):
        digest.update(part.numpy().tobytes())
    assert module(images, monkeypatch).fingerprint == f"sha256:{digest.hexdigest()}"
    images.test_labels[0] += 1
    assert images.fingerprint() != f"sha256:{digest.hexdigest()}"
