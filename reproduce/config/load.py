"""Recipe + run + profile + key=value -> one validated, frozen configuration (OmegaConf merges, pydantic checks)."""

import io
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from pydantic import ValidationError

from reproduce.config.run import Run, digest, is_recipe
from reproduce.config.schema import Config, flatten
from reproduce.utils.errors import UserError, one_line

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DEPTH = 10  # of a configuration file: sections, keys, lists
LINE = "command line"
Layer = tuple[str, dict[str, Any]]  # where it stands, for messages, and its values


def _reason(error: Exception) -> str:
    """The first line of a library's message, with the key it is about."""
    key = getattr(error, "full_key", None)
    return f"{key}: {one_line(error)}" if key else one_line(error)


@cache
def read(path: Path) -> dict[str, Any]:
    """A configuration file as plain built-ins. Errors: UserError naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
        if "${" in text:  # could pull a secret of the environment into a recorded configuration
            raise ValueError("interpolations (${...}) are not taken here")
        _check_form(text)
        tree = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except Exception as error:  # a damaged file makes yaml and OmegaConf raise nearly anything
        raise UserError(f"{path}: not a configuration: {_reason(error)}") from None
    if not isinstance(tree, dict) or not all(isinstance(part, dict) for key, part in tree.items() if key != "task"):
        raise UserError(f"{path}: expected `section: {{key: value}}`, in every line of the first level")
    return {str(key): value for key, value in tree.items()}


def _check_form(text: str) -> None:
    """Raises ValueError for what can fill the memory or the stack with a few lines."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (*name) are not taken here")
        if depth > DEPTH:
            raise ValueError(f"nested more than {DEPTH} deep")


def runs() -> dict[str, dict[str, Any]]:
    """Every training of the paper (configs/runs.yaml): run id -> what differs from its recipe."""
    return read(CONFIGS / "runs.yaml")


def run_entry(name: str) -> dict[str, Any]:
    """A line of runs.yaml. Errors: UserError for a run that is not there, or a line that does not say what it is."""
    entry, where = runs().get(name), f"{CONFIGS / 'runs.yaml'}: {name}"
    if entry is None:
        raise UserError(f"{name}: no such run; `python -m reproduce runs` lists them (configs/runs.yaml)")
    recipe = entry.get("recipe")
    if not isinstance(recipe, str) or not re.fullmatch(r"[\w-]+", recipe):
        raise UserError(f"{where}: recipe: {recipe!r} is no name of a file of configs/")
    for key in ("seeds", "length"):
        if not isinstance(entry.get(key, 1), int) or not 1 <= entry.get(key, 1) <= 1000:
            raise UserError(f"{where}: {key}: {entry[key]!r} is not a number from 1 to 1000")
    return entry


def recipe_of(name: str) -> str:
    """The recipe of a run: a file of configs/."""
    return str(run_entry(name)["recipe"])


def recipes() -> list[str]:
    """All recipes that runs have, in their order."""
    return list(dict.fromkeys(map(recipe_of, runs())))


def default_seeds(name: str) -> int:
    """How many seeds the paper ran (5 for ResNet-110), if SEEDS does not say otherwise."""
    return int(run_entry(name).get("seeds", 1))


def _checked(layers: Sequence[Layer]) -> Config:
    """The layers, each over those before it, as a configuration. Errors: UserError naming the layer and the key."""
    try:
        return Config.model_validate(_merged(layers))
    except ValidationError as error:
        key, reason = _first_problem(error)
        raise UserError(f"{_where(f'{key} {reason}', layers)}: {key}: {reason}") from None


def _merged(layers: Sequence[Layer]) -> dict[str, Any]:
    merged: Any = OmegaConf.create({})
    for number, (where, tree) in enumerate(layers):
        for key, value in flatten(tree).items():
            if (number and value == "???") or (value is None and "." not in key):  # a recipe may leave it to its runs
                raise UserError(f"{where}: {key}: has no value")
        try:
            merged = OmegaConf.merge(merged, OmegaConf.create(tree))
        except Exception as error:  # what is merged is of any form; OmegaConf raises TypeError, ValueError, its own ...
            raise UserError(f"{where}: {_reason(error)}") from None
    plain = OmegaConf.to_container(merged)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _first_problem(error: ValidationError) -> tuple[str, str]:
    """(key, reason) of the first of pydantic's errors; what it says of one key belongs together."""
    found = sorted(error.errors(include_url=False), key=lambda part: part["type"] != "extra_forbidden")
    if found[0]["type"] == "value_error":  # of our own checks between keys
        key, _, reason = str(found[0]["ctx"]["error"]).partition(": ")
        return key, reason
    keys = [_key_of(part["loc"], part["type"]) for part in found]
    first = [part for part, key in zip(found, keys, strict=True) if key == keys[0]]
    if first[0]["type"] == "missing" or first[0]["input"] == "???":
        return keys[0], "has no value"
    if first[0]["type"] == "extra_forbidden":
        return keys[0], "there is no such key" + _of_kind(first[0]["loc"])
    reasons = dict.fromkeys(part["msg"].removeprefix("Input ").replace("\n", " ") for part in first)
    return keys[0], f"{_short(first[0]['input'])} {' or '.join(reasons)}"


def _key_of(location: tuple[int | str, ...], kind: str) -> str:
    """("data", "cifar10", "mean", 0) -> data.mean: pydantic names the class, too, and the element of a list."""
    section, *rest = map(str, location)
    if section in ("model", "data"):
        rest = ["name"] if kind.startswith("union_tag") else rest[1:]
    key = ".".join([section, *rest[:1]])
    return key if key.isprintable() else repr(key)


def _of_kind(location: tuple[int | str, ...]) -> str:
    return f" for {location[0]}.name={location[1]}" if len(location) == 3 else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _where(problem: str, layers: Sequence[Layer]) -> str:
    """The last layer that says something about a key which the problem names; the recipe, where none does."""
    named = {word.rstrip(".:,") for word in re.split(r"[\s=()]+", problem)}
    for where, tree in reversed(layers):
        if named & {str(key) for key in (*tree, *flatten(tree))}:
            return where
    return layers[0][0]


def parse_overrides(items: Sequence[str]) -> dict[str, Any]:
    """["train.lr=0.05"] -> {"train": {"lr": 0.05}}."""
    for item in items:
        if "=" not in item:
            raise UserError(f"{item}: expected a run id or key=value")
        if "." not in item.partition("=")[0]:
            raise UserError(f"{item}: expected section.key=value, as in train.lr=0.05")
        if "${" in item:  # could pull a secret of the environment into a recorded configuration
            raise UserError(f"command line: {item.split('=')[0]}: interpolations (${{...}}) are not taken here")
        try:
            OmegaConf.from_dotlist([item])
        except Exception as error:  # as for a file
            raise UserError(f"command line: {item}: {_reason(error)}") from None
    try:
        tree = OmegaConf.to_container(OmegaConf.from_dotlist(list(items)))
    except Exception as error:  # values that do not go together
        raise UserError(f"command line: {_reason(error)}") from None
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def profile_layer(profile: str, recipe: str) -> Layer:
    """(where, tree) of what a profile changes in a recipe. Errors: UserError where it has nothing for that recipe."""
    names = sorted(path.stem for path in (CONFIGS / "profiles").glob("*.yaml"))
    if profile not in names:
        raise UserError(f"--profile {profile}: no such profile; there are {', '.join(names)}")
    path = CONFIGS / "profiles" / f"{profile}.yaml"
    parts = read(path)
    if recipe not in parts:
        made = ", ".join(parts) or "nothing"
        raise UserError(f"--profile {profile}: is made for {made}, not for {recipe} ({path.name})")
    return f"{path.relative_to(CONFIGS.parent)}: {recipe}", parts[recipe]


def profile_name(profile: str, overrides: Sequence[str], recipe: str | None = None) -> str:
    """The folder of a profile's results: `paper`, or `paper+<hash8>` once the command line changes a recipe value.

    A seed is no change (seeds share a folder), nor is a value that the profile and all runs of the recipe have anyway.
    `recipe`: the first one, where none is given.
    """
    recipe = recipe or recipes()[0]
    example = next(name for name in runs() if recipe_of(name) == recipe)
    given = parse_overrides(overrides)
    base = [*_own_layers(example)[:2], profile_layer(profile, recipe)]
    before, after = (flatten(_checked(layers).model_dump(mode="json")) for layers in (base, [*base, (LINE, given)]))
    changed = {key: value for key, value in after.items() if is_recipe(key) and value != before.get(key)}
    named = {key: after[key] for key in flatten(given) if is_recipe(key)}
    changed |= {key: value for key, value in named.items() if _some_run_differs(recipe, key, value)}
    return f"{profile}+{digest(changed)[:8]}" if changed else profile


def _some_run_differs(recipe: str, key: str, value: Any) -> bool:
    """Whether a run's own line has another value: warmup_lr=0 is the recipe's, but a change to ResNet-110."""
    entries = [flatten(entry) for entry in runs().values() if entry.get("recipe") == recipe]
    if key in ("train.iterations", "train.milestones") and any("length" in entry for entry in entries):
        return True
    return any(entry.get(key, value) != value for entry in entries)


def resolve(name: str, profile: str = "paper", overrides: Sequence[str] = (), seed: int | None = None) -> Run:
    """The run `name` under a profile and overrides. Errors: UserError naming file and key, in one line."""
    given = [item for item in overrides if not item.startswith("train.seed=")]
    recipe = recipe_of(name)
    layers = [*_own_layers(name), profile_layer(profile, recipe)]
    if (times := run_entry(name).get("length", 1)) != 1:
        layers.append((layers[1][0], _lengthened(_checked(layers), times)))
    if seed is not None:
        layers.append(("--seed", {"train": {"seed": seed}}))
    changed = parse_overrides(overrides)
    own_eval = _checked([*layers, (LINE, changed | {"eval": {}})]).eval
    config = _checked([*layers, (LINE, changed)])
    if config.execution.devices == 0:
        config = _checked([*layers, (LINE, changed), (LINE, {"execution": {"devices": _visible_devices()}})])
    return Run(name, profile_name(profile, given, recipe), profile, tuple(given), config, own_eval)


def _own_layers(name: str) -> list[Layer]:
    """A run's recipe, and what its line says beside it."""
    entry, recipe = run_entry(name), recipe_of(name)
    difference = {key: value for key, value in entry.items() if key not in ("recipe", "seeds", "length")}
    return [(f"configs/{recipe}.yaml", read(CONFIGS / f"{recipe}.yaml")), (f"configs/runs.yaml: {name}", difference)]


def _lengthened(config: Config, times: int) -> dict[str, Any]:
    """A training `times` as long, its learning rate dropping as much later."""
    t = config.train
    return {"train": {"iterations": times * t.iterations, "milestones": [times * i for i in t.milestones]}}


def _visible_devices() -> int:
    import torch  # takes seconds, and is needed for nothing else here

    return max(1, torch.cuda.device_count())
