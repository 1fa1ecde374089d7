"""Weights & Biases as an observer: off unless asked for, never asked back, never in the way of a training."""

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from reproduce.config import Run, digest
from reproduce.record import say

PROJECT = "deep-residual-learning"
SECONDS = 5  # a server that has not answered by then is not waited for


def logger(run: Run, folder: Path) -> Logger | None:
    """Lightning's WandbLogger for a run, started; None when off or when wandb cannot be used (one warning line)."""
    mode = run.config.execution.wandb
    if mode == "disabled":
        return None
    try:
        return _start(run, folder, _mode_without_prompt(mode))
    except Exception as error:
        if mode == "offline":
            _without(error)
            return None
    try:  # no server: keep an offline copy, `wandb sync` sends it later
        say("W&B: no answer from the server; continuing offline")
        return _start(run, folder, "offline")
    except Exception as error:
        _without(error)
        return None


def _without(error: Exception) -> None:
    say(f"W&B: not used ({next(iter(str(error).splitlines()), type(error).__name__)})")


def _mode_without_prompt(mode: str) -> str:
    """`online` needs a key that is already there: a batch job must never meet a login prompt."""
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    if (
        mode == "online"
        and not os.environ.get("WANDB_API_KEY")
        and not (netrc.is_file() and "wandb" in netrc.read_text())
    ):
        say("W&B: no WANDB_API_KEY and no netrc entry; continuing offline (`wandb sync` sends it later)")
        return "offline"
    return mode


def _start(run: Run, folder: Path, mode: str) -> Logger:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    settings = wandb.Settings(init_timeout=SECONDS, console="off", silent=True, disable_git=True, disable_code=True)
    folder.mkdir(parents=True, exist_ok=True)
    observer = WandbLogger(
        project=PROJECT,
        name=f"{run.name} seed {run.seed}",
        id=digest([run.profile, run.name, run.seed, run.recipe_hash])[:16],
        group=run.name,  # one run serves several tables and figures: they select runs, not the other way round
        job_type="train",
        tags=[run.profile, f"depth {run.config.net.depth}", f"shortcut {run.config.net.shortcut}"],
        save_dir=str(folder.resolve()),  # its service keeps the folder in which it was started
        offline=mode == "offline",
        log_model=False,
        resume="allow",
        config=_shown(run),
        settings=settings,
    )
    experiment = observer.experiment
    experiment.define_metric("iteration")  # after the logger's own "*", which would take its step for the axis
    for pattern in ("train/*", "test/*", "lr"):
        experiment.define_metric(pattern, step_metric="iteration", summary="last")
    return observer


def _shown(run: Run) -> dict[str, Any]:
    tree = run.tree()
    tree["data"]["root"] = "$DATA"
    return tree | {"run": run.name, "profile": run.profile, "seed": run.seed, "recipe_hash": run.recipe_hash}


def point(observer: Logger | None, row: dict[str, float]) -> None:
    """One point of the curve, on our own `iteration` axis."""
    if observer is not None:
        names = {"train_loss": "train/loss", "train_error": "train/error", "test_error": "test/error"}
        observer.log_metrics({names.get(key, key): value for key, value in row.items()})


def finish(observer: Logger | None, summary: dict[str, Any] | None = None) -> None:
    """Close the run, so that the next training of this process is a run of its own."""
    if observer is None:
        return
    import wandb

    try:
        if summary:
            observer.experiment.summary.update(summary)  # type: ignore[attr-defined]
        wandb.finish()
    except Exception as error:
        _without(error)
