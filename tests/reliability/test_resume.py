"""Continuing on one and two processes, the same bits from the same seed, and nothing that grows with each save."""

import gc
import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reproduce.config.run import Run
from reproduce.data.build import build_data
from reproduce.data.cifar10.datamodule import Cifar10DataModule
from reproduce.metrics.classification import count_errors
from reproduce.models.build import build_net
from reproduce.models.precise_bn import recompute_bn
from reproduce.training import checkpoint
from tests.helpers.figures import Figure
from tests.reliability.trainings import IN_DOUBLE, KEEP_STATES, WORDS, Training

pytestmark = pytest.mark.reliability
Make = Callable[..., Run]
POINTS = (1, 4, 5, 6, 10, 11, 12)  # within an interval, at a test, after it, at the end


def continued(tmp_path: Path, points: Sequence[int], processes: int, words: tuple[str, ...] = WORDS) -> int:
    """At how many of the points a training continues to the same weights and curve."""
    whole = Training(tmp_path / "whole", words, processes, {KEEP_STATES: "1"})
    assert set(whole.run()) == {0}, whole.said()
    identical = 0
    for point in points:
        again = Training(tmp_path / f"from-{point}", words, processes)
        shutil.copytree(whole.place / "runs", again.place / "runs")
        folder = next(again.place.glob("runs/*/*/*"))
        for path in [*folder.glob("state-*.pt"), folder / "final.safetensors"]:
            if path.name != f"state-{point:08d}.pt":
                path.unlink()
        assert set(again.run()) == {0}, again.said()
        assert f"continuing at iteration {point} of" in again.said()
        identical += again.outcome() == whole.outcome()
    return identical


TWO = (*WORDS, "execution.steps_per_batch=2")


@pytest.mark.parametrize(
    ("processes", "points"),
    [(2, (4, 10)), pytest.param(1, POINTS, marks=pytest.mark.slow), pytest.param(2, POINTS, marks=pytest.mark.slow)],
)
def test_every_point_continues_to_the_same_bits(
    tmp_path: Path, figure: Figure, processes: int, points: tuple[int, ...]
) -> None:
    identical = continued(tmp_path, points, processes)
    what = f"resume at {len(points)} points, {processes} process{'es' * (processes > 1)}"
    figure("T1", what, reached=f"{identical}/{len(points)} identical", demanded="all")
    assert identical == len(points)


def test_the_same_seed_gives_the_same_bits_in_fresh_processes(tmp_path: Path, figure: Figure) -> None:
    one, two = Training(tmp_path / "one"), Training(tmp_path / "two")
    assert one.run() == two.run() == [0]
    identical = one.outcome() == two.outcome()
    reached = "identical" if identical else "different"
    figure("T25", "the same seed twice, fresh processes", reached=reached, demanded="identical")
    assert identical


@pytest.mark.arithmetic
def test_threads_change_rounding_only(tmp_path: Path, figure: Figure) -> None:
    """A sum that is divided between threads rounds otherwise: in float64 by 1e-16, which a few updates magnify."""
    weights = []
    for threads in (1, 2):
        words = (*WORDS, "train.lr=0.001", f"execution.threads={threads}")
        training = Training(tmp_path / str(threads), words, environment={IN_DOUBLE: "1"})
        assert training.run() == [0], training.said()
        weights.append(load_file(next(training.place.glob("runs/*/*/*/final.safetensors"))))
    assert {tensor.dtype for tensor in weights[0].values()} == {torch.float64, torch.int64}
    one, two = weights
    largest = max(float((two[name] - w).abs().max() / (1 + w.abs().max())) for name, w in one.items())
    what = "1 and 2 threads in float64: largest difference"
    figure("T25", what, reached=f"{largest:.1e}", demanded="1e-10, relative")
    assert largest < 1e-10


def test_an_empty_share_of_a_test_set_hangs_nobody(tmp_path: Path, figure: Figure) -> None:
    """One image held out, two processes: the second has none of it."""
    training = Training(tmp_path / "run", (*WORDS, "model.bn_group=4", "data.validation=1"), processes=2)
    began = time.monotonic()
    assert training.run() == [0, 0], training.said()
    seconds = time.monotonic() - began
    errors = [row["validation_error"] for row in training.curve()]
    what = "1 image on 2 processes, one with an empty share: points of the curve"
    figure("T10", what, reached=f"{len(errors)}, {seconds:.1f} s", demanded="3, 20 s")
    assert len(errors) == 3
    assert set(errors) <= {"0.0", "100.0"}
    assert seconds < 20


def test_saving_and_continuing_leaks_nothing(tmp_path: Path, figure: Figure) -> None:
    """200 saves and loads: open files, files on disk and memory stay."""
    state: dict[str, Any] = dict.fromkeys(checkpoint.KEYS) | {"recipe_hash": "x", "net": {"w": torch.zeros(50_000)}}

    def cycles(first: int, last: int) -> tuple[int, int, int]:
        for iteration in range(first, last):
            checkpoint.save(tmp_path, state | {"iteration": iteration})
            assert checkpoint.newest(tmp_path, "x") is not None
        gc.collect()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return len(os.listdir("/dev/fd")), len(list(tmp_path.iterdir())), memory  # noqa: PTH208

    files, left, memory = cycles(0, 40)
    more_files, more_left, more_memory = cycles(40, 200)
    growth = 100 * (more_memory / memory - 1)
    reached = f"{more_files - files:+d} open, {more_left - left:+d} on disk, memory {growth:+.1f} %"
    figure("T31", "200 saves and loads", reached=reached, demanded="+0, +0, below 5 %")
    assert (more_files, more_left) == (files, left)
    assert growth < 5


def test_each_image_is_counted_once_whatever_the_shares(tiny: Make, figure: Figure) -> None:
    """T9 and T10: an empty share is among them (1 image on 2 and 3 processes)."""
    data, right = build_data(tiny(overrides=["data.subset=11"]).config), []
    data.setup("test")
    assert isinstance(data, Cifar10DataModule)
    images, labels = data.test_images, data.test_labels
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    for n in (1, 2, 3, 97, 100, 101):
        data.test_images, data.test_labels = images[:n], labels[:n]
        alone = count_errors(net, data.test_batches("cpu"))
        for processes, size in product((1, 2, 3), (1, 16, 128)):
            parts = [count_errors(net, data.test_batches("cpu", rank, processes, size)) for rank in range(processes)]
            counted = sum(int(part.errors) for part in parts), sum(part.n for part in parts)
            right.append(counted == (int(alone.errors), n))
    figure("T9", "images x processes x batch: errors counted", reached=f"{sum(right)}/54 equal", demanded="54/54")
    assert right == [True] * 54


@pytest.mark.arithmetic
def test_recomputed_statistics_do_not_depend_on_the_order(tiny: Make, figure: Figure) -> None:
    """Cumulative averages over equal batches: any order gives the same up to rounding."""
    run = tiny()
    data = build_data(run.config)
    data.setup("fit")
    batches = [(x.double(), y) for x, y in (data.train_batch(i) for i in range(6))]
    found = []
    for order in (batches, batches[::-1]):
        net = build_net(run.config).double()  # in float64 only the order of the sums is left to differ
        recompute_bn(net, order[:1])
        recompute_bn(net, order)
        found.append(torch.cat([b.flatten() for name, b in net.named_buffers() if name.endswith(("mean", "var"))]))
    largest = float(((found[0] - found[1]).abs() / (1 + found[1].abs())).max())
    figure("T11", "BN statistics recomputed in another order", reached=f"{largest:.1e}", demanded="1e-12, relative")
    assert largest < 1e-12
