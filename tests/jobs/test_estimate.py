"""The estimate before a training: hours from finished trainings where there are any, rounded, and with a warning."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reproduce.config.run import Run
from reproduce.jobs import estimate
from reproduce.utils.environment import device_name

Make = Callable[..., Run]
CPU = device_name(torch.device("cpu"))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing else runs, and steps that are slow: a million multiply-adds per second."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.setattr(estimate, "multiply_adds_per_second", lambda run: 1e6)


def finish(run: Run, hours: float, **changes: Any) -> None:
    """A finished training of another profile: ten times the iterations of the tiny run, 40 million multiply-adds."""
    origin = {"device": CPU, "precision": "fp32", "threads": 1, "processes": 1, "hours": hours}
    origin |= {"config": {"train": {"batch_size": 8}, "data": {"name": "cifar10", "crop": None}}}
    result = {"run": run.name, "iterations": 120, "multiply_adds": 40_000_000, "provenance": origin | changes}
    path = Path("results/short") / run.name / f"seed-{len(list(Path('results').glob('*/*/*')))}" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))


def hours_of(text: str) -> list[str]:
    return [line.split(" h ")[0].split()[-1] for line in text.splitlines() if " GB" in line and " h " in line]


def test_hours_are_those_of_finished_trainings_of_the_run(tiny: Make) -> None:
    """Twelve iterations of 120: a tenth of the median, on this device, in this precision."""
    run = tiny()
    counted = estimate.complexity.multiply_adds(estimate.build_net(run.config), 32)
    for hours in (2.0, 3.0, 70.0):
        finish(run, hours)
    finish(run, 0.02, device="another GPU")
    finish(run, 0.02, precision="bf16")
    finish(run, 0.02, starts=[{"processes": 2}, {"processes": 1}])
    text = estimate.plan([run])
    assert hours_of(text)[0] == estimate.about(0.3 * counted / 40e6)
    assert "from 3 finished trainings on this kind of device" in text
    assert "timed steps" not in text


def test_hours_of_another_net_follow_from_its_multiply_adds(tiny: Make) -> None:
    run = tiny(name="cifar10-plain-20")
    counted = estimate.complexity.multiply_adds(estimate.build_net(run.config), 32)
    finish(tiny(), 3.0)
    assert hours_of(estimate.plan([run]))[0] == estimate.about(0.3 * counted / 40e6)


def test_without_finished_trainings_a_few_steps_are_timed(tiny: Make) -> None:
    run = tiny()
    counted = estimate.complexity.multiply_adds(estimate.build_net(run.config), 32)
    text = estimate.plan([run])
    assert hours_of(text) == [estimate.about(3 * counted * 8 * 12 / 1e6 / 3600)] * 2
    assert "from a few timed steps" in text
    assert "busy" not in text


def test_a_busy_machine_is_said(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (9.25, 3.0, 1.0))
    monkeypatch.setattr(estimate, "cores", lambda: 2)
    assert "this machine is busy (load 9.2 on 2 cores): the steps took longer than they would alone" in estimate.plan(
        [tiny()]
    )
    finish(tiny(), 3.0)
    assert "busy" not in estimate.plan([tiny()])  # nothing was timed


@pytest.mark.parametrize(
    ("hours", "text"),
    [(60242.14, "60,000"), (1234.5, "1,200"), (41.7, "42"), (4.13, "4.1"), (0.0371, "0.037"), (0.0012, "below 0.01")],
)
def test_an_estimate_has_two_digits(hours: float, text: str) -> None:
    assert estimate.about(hours) == text
    assert estimate.about(0.0) == "0"
