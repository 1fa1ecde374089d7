"""One training, resolved: what identifies it, where it lies, the command that makes it."""

import hashlib
import json
import shlex
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reproduce.config.schema import Config, Eval, flatten

if TYPE_CHECKING:
    import torch

RESULTS, RUNS = Path("results"), Path("runs")  # what is kept, and what is worked on

# What moves no weight is recorded, but no part of what a training is: how it is carried out, and how its net is tested.
# All seeds of a run are of one recipe. The rest is the recipe: hashed where it differs from the schema's default.
NOT_RECIPE = {"data.root", "data.shards", "train.compile", "train.channels_last", "train.seed"}
PUBLIC = {"data.root": "data.root=$DATA", "data.shards": "data.shards=$SHARDS"}  # instead of this machine's paths


@dataclass(frozen=True)
class Run:
    """A resolved training: what `train`, `evaluate` and `responses` work on."""

    name: str  # run id, e.g. cifar10-plain-56
    profile: str  # folder under results/ and runs/, e.g. paper or paper+1a2b3c4d
    base_profile: str  # the built-in profile it started from
    overrides: tuple[str, ...]  # key=value as given, without the seed
    config: Config
    own_eval: Eval  # how its net is tested unless the command line says otherwise: that of recipe, run and profile

    @property
    def seed(self) -> int:
        return self.config.train.seed

    @property
    def folder(self) -> Path:
        """`<profile>/<run>/seed-<k>`, below runs/ as below results/."""
        return Path(self.profile) / self.name / f"seed-{self.seed}"

    @property
    def results(self) -> Path:
        """Where its numbers are kept."""
        return RESULTS / self.folder

    @property
    def workdir(self) -> Path:
        """Where its states, logs and final weights lie."""
        return RUNS / self.folder

    @cached_property
    def device(self) -> "torch.device":
        """The kind of device that it computes on."""
        from reproduce.config.device import device_of  # torch takes seconds, and few need to know

        return device_of(self.config)

    @property
    def processes(self) -> int:
        """Processes that compute it together, one a device."""
        return self.config.execution.devices * self.config.execution.nodes

    @property
    def images_per_process(self) -> int:
        """Of one iteration."""
        return self.config.train.batch_size // self.processes

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration as plain built-ins."""
        return self.config.model_dump(mode="json")

    def to_public_dict(self) -> dict[str, Any]:
        """The same without the paths of this machine."""
        tree = self.to_dict()
        tree["data"] |= {"root": "$DATA"} | ({"shards": "$SHARDS"} if tree["data"].get("shards") else {})
        return tree

    def recipe(self) -> dict[str, Any]:
        """The hashed part of the configuration, flat: what differs from the schema's defaults, or has none."""
        flat = flatten(self.config.model_dump(mode="json", exclude_defaults=True))
        return {key: value for key, value in sorted(flat.items()) if is_recipe(key)}

    @property
    def recipe_hash(self) -> str:
        return digest(self.recipe())

    def arguments(self, **execution: int | str) -> list[str]:
        """What follows `python -m reproduce` to train it alone, under these execution.* values instead of its own."""
        replaced = tuple(f"execution.{key}=" for key in execution)
        kept = [item for item in self.overrides if not item.startswith(replaced)]
        changed = [f"execution.{key}={value}" for key, value in execution.items()]
        return ["train", self.name, "--profile", self.base_profile, "--seed", str(self.seed), *kept, *changed]

    @property
    def shown_overrides(self) -> list[str]:
        """The overrides without the paths of this machine."""
        return [PUBLIC.get(item.partition("=")[0], item) for item in self.overrides]

    def command(self) -> str:
        """The command line of this run, for a shell; paths of this machine are the shell's $DATA and $SHARDS."""
        arguments = replace(self, overrides=tuple(self.shown_overrides)).arguments()
        quoted = [item if item in PUBLIC.values() else shlex.quote(item) for item in arguments]
        return " ".join(["python -m reproduce", *quoted])


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def is_recipe(key: str) -> bool:
    return key not in NOT_RECIPE and not key.startswith(("execution.", "eval."))
