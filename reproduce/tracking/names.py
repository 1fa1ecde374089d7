"""What W&B knows a training by: id, group, tags, configuration, metric names and their axes.

Training logs under these names (`wandb_logger`), publishing repeats them (`publish`), dashboards select by them
(`dashboard/`): a dashboard fits a run that was started a moment ago as it fits one that was published from files.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce.config.run import Run, digest
from reproduce.utils.errors import UserError

PROJECT = "deep-residual-learning"
AXIS, LAYER = "iteration", "layer"
RUN, PROFILE, SEED = "run", "profile", "seed"  # keys of the configuration by which runs are selected

METRICS = {  # column of curve.csv -> metric
    "train_loss": "train/loss",
    "train_error": "train/error",
    "test_error": "test/error",
    "test_top5_error": "test/top5_error",
    "validation_error": "validation/error",
}
AXES = {"train/*": AXIS, "test/*": AXIS, "validation/*": AXIS, "lr": AXIS, "response/*": LAYER}
STD, SORTED_STD = "response/std", "response/sorted_std"


def evaluation(protocol: str, name: str) -> str:
    """The summary key of a number measured under a protocol: eval/10-crop/top1_error."""
    return f"eval/{protocol}/{name}"


def final_metrics(result: dict[str, Any]) -> dict[str, float]:
    """The errors of a result.json under their names here, and where its validation error was lowest."""
    found = {METRICS[key]: value for key, value in result["metrics"].items() if key in METRICS}
    return found | {f"best_validation/{key}": value for key, value in result.get("best_validation", {}).items()}


def project() -> str:
    return os.environ.get("WANDB_PROJECT") or PROJECT


def has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return "wandb" in Path(os.environ.get("NETRC") or Path.home() / ".netrc").read_text()
    except (OSError, RuntimeError, UnicodeDecodeError):  # RuntimeError: there is no home folder
        return False


def need_key() -> None:
    """Errors: UserError where W&B could only ask for a key."""
    if not has_key():
        raise UserError("W&B: no WANDB_API_KEY and no netrc entry: run `wandb login`, or choose WANDB=offline")


@dataclass(frozen=True)
class Training:
    """One run at W&B. `config`: the resolved configuration; `origin`: command, commit, dirty."""

    run: str
    profile: str
    seed: int
    recipe_hash: str
    config: dict[str, Any]
    origin: dict[str, Any]

    @property
    def id(self) -> str:
        """The same for a training wherever and whenever it is logged."""
        return digest([self.profile, self.run, self.seed, self.recipe_hash])[:16]

    @property
    def name(self) -> str:
        return f"{self.run} seed {self.seed}"

    @property
    def tags(self) -> list[str]:
        net = self.config["model"]
        return [self.profile, f"depth {net['depth']}", f"shortcut {net['shortcut']}"]

    @property
    def shown(self) -> dict[str, Any]:
        """The configuration with what views and tables select by."""
        own = {RUN: self.run, PROFILE: self.profile, SEED: self.seed, "recipe_hash": self.recipe_hash}
        return self.config | own | self.origin


def of_run(run: Run, code: tuple[str | None, bool] = (None, False)) -> Training:
    """A training that is about to start; `code`: the commit of this code, and whether it was changed."""
    origin = {"command": run.command(), "commit": code[0], "dirty": code[1]}
    return Training(run.name, run.profile, run.seed, run.recipe_hash, run.to_public_dict(), origin)


def of_result(result: dict[str, Any]) -> Training:
    """A finished training, from its result.json. Errors: KeyError where a field is missing."""
    p = result["provenance"]
    origin = {key: p.get(key) for key in ("command", "commit", "dirty")}
    origin["provenance"] = {key: value for key, value in p.items() if key not in ("config", "recipe_hash", *origin)}
    return Training(result["run"], result["profile"], result["seed"], p["recipe_hash"], p["config"], origin)
