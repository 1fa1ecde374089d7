"""Shared by the tests of training: a shrunk real configuration in a folder of its own."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from reproduce.config.load import resolve
from reproduce.config.run import Run
from tests.helpers.figures import figure, pytest_terminal_summary  # noqa: F401
from tests.helpers.tiny import TINY


def pytest_configure(config: pytest.Config) -> None:
    """Tests are of the CPU, on a machine with GPUs too, and so are the processes they start; `-m gpu` is for those."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first: begun last, it would leave the other workers idle."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning remembers a rank for good: a test that plays another process's part is not to tell the next one so."""
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Resolves a shrunk run; runs/ and results/ lie in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "REPRODUCE_LABEL"):
        monkeypatch.delenv(name, raising=False)

    def make(
        name: str = "cifar10-resnet-20", overrides: Sequence[str] = (), seed: int | None = None, **kwargs: Any
    ) -> Run:
        return resolve(name, kwargs.get("profile", "smoke"), [*TINY, *overrides], seed)

    return make
