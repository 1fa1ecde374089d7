"""Reads artefacts.json and finds the ids under which W&B has, or will have, the runs it names."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce.config import load
from reproduce.tracking.names import Training, of_run
from reproduce.utils.errors import UserError

FORMAT = 1
CURE = "make it anew: `python -m paper_tables artefacts --profile P`"
NEEDED = ("name", "target", "title", "caption", "command", "markdown", "runs", "panels", "bars")


@dataclass(frozen=True)
class Seed:
    """One training: its id at W&B; command and commit once it is done, else what would be typed."""

    run: str
    seed: int
    id: str
    iterations: int
    command: str
    commit: str | None = None
    dirty: bool = False
    done: bool = False


@dataclass(frozen=True)
class Source:
    profile: str
    conditions: str
    claims: str
    nets: dict[str, dict[str, Any]]
    artefacts: list[dict[str, Any]]
    seeds: dict[str, list[Seed]]

    def of(self, runs: Iterable[str]) -> list[Seed]:
        return [seed for run in runs for seed in self.seeds[run]]

    def iterations(self, runs: Iterable[str]) -> int | None:
        """The length of these trainings, None where it is not known."""
        return max((seed.iterations for seed in self.of(runs)), default=None)

    def colours(self, artefact: dict[str, Any]) -> dict[str, str]:
        """Run -> colour; the shortcut options of Table 3 have tints of their own."""
        found = {run: str(self.nets[run]["colour"]) for run in artefact["runs"]}
        for group in reversed(artefact["bars"]):
            found |= group["colours"]
        return found


def read(path: Path, profile: str, overrides: Sequence[str] = (), seeds: Iterable[int] | None = None) -> Source:
    """Errors: UserError naming the file and what is wrong with it."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; {CURE}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); {CURE}") from None
    try:
        if tree["format"] != FORMAT or not all(key in artefact for artefact in tree["artefacts"] for key in NEEDED):
            raise UserError(f"{path}: is not of this version; {CURE}")
        numbers = None if seeds is None else list(seeds)
        ids = {run: _seeds(run, net, tree["profile"], profile, overrides, numbers) for run, net in tree["nets"].items()}
        top = (tree["profile"], tree["conditions"], tree["claims"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not what `artefacts` writes ({error}); {CURE}") from None
    return Source(*top, tree["nets"], tree["artefacts"], ids)


def _seeds(
    run: str, net: dict[str, Any], folder: str, profile: str, overrides: Sequence[str], numbers: list[int] | None
) -> list[Seed]:
    """The finished trainings of a run, and those that these options would start."""
    done = {entry["seed"]: _done(run, folder, entry) for entry in net["seeds"]}
    if numbers is None:
        numbers = list(range(load.default_seeds(run)))
    for number in numbers:
        if number not in done and (planned := _planned(run, folder, profile, overrides, number)):
            done[number] = planned
    return [done[number] for number in sorted(done)]


def _done(run: str, folder: str, entry: dict[str, Any]) -> Seed:
    training = Training(run, folder, entry["seed"], entry["recipe_hash"], {}, {})
    origin = (str(entry["command"]), entry["commit"], bool(entry["dirty"]))
    return Seed(run, entry["seed"], training.id, int(entry["iterations"]), *origin, done=True)


def _planned(run: str, folder: str, profile: str, overrides: Sequence[str], number: int) -> Seed | None:
    """None where these options do not lead to this folder: the profile is not for this data set, or a hash alone."""
    try:
        resolved = load.resolve(run, profile, overrides, number)
    except UserError:
        return None
    if resolved.profile != folder:
        return None
    return Seed(run, number, of_run(resolved).id, resolved.config.train.iterations, resolved.command())
