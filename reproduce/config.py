"""Recipe + run + profile + key=value -> one validated, frozen configuration (plain OmegaConf over a typed schema)."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reproduce.errors import UserError
from reproduce.schema import OWN_KEYS, Config, Eval, check, flatten

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

RECIPES = ("cifar10", "imagenet")
DEPTH = 10  # of a configuration file: sections, keys, lists

# What moves no weight is recorded, but no part of what a training is: how it is carried out, and how its net is tested.
# Everything else is the recipe, and hashed.
EXECUTION_KEYS = {"data.root", "data.shards", "train.compile", "train.channels_last"}
PLACES = {"data.root": "data.root=$DATA", "data.shards": "data.shards=$SHARDS"}  # as they are shown


@dataclass(frozen=True)
class Run:
    """A resolved training: what `train`, `evaluate` and `responses` work on."""

    name: str  # run id, e.g. cifar10-plain-56
    profile: str  # folder under results/ and runs/, e.g. paper or paper+1a2b3c4d
    base_profile: str  # the built-in profile it started from
    overrides: tuple[str, ...]  # key=value as given, without the seed
    config: Config

    @property
    def seed(self) -> int:
        return self.config.train.seed

    @property
    def folder(self) -> Path:
        """`<profile>/<run>/seed-<k>`, below runs/ as below results/."""
        return Path(self.profile) / self.name / f"seed-{self.seed}"

    def tree(self) -> dict[str, Any]:
        """The resolved configuration as plain built-ins."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self.config)))
        return plain

    def shown(self) -> dict[str, Any]:
        """The same without the paths of this machine."""
        tree = self.tree()
        tree["data"] |= {"root": "$DATA"} | ({"shards": "$SHARDS"} if tree["data"]["shards"] else {})
        return tree

    def recipe(self) -> dict[str, Any]:
        """The hashed part of the configuration, flat: what belongs to this recipe, the same for all seeds."""
        flat = sorted(flatten(self.tree()).items())
        flat = [(key, value) for key, value in flat if key != "train.seed"]
        return {key: value for key, value in flat if _is_recipe(key) and not (key in OWN_KEYS and value is None)}

    @property
    def recipe_hash(self) -> str:
        return digest(self.recipe())

    def own_eval(self) -> Eval:
        """How a net of this run is tested unless the command line says otherwise: eval.* of recipe, run and profile."""
        rest = [item for item in self.overrides if not _is_eval(item)]
        return resolve(self.name, self.base_profile, rest, self.seed).config.eval

    def command(self, verb: str = "train") -> str:
        """The command line of this result, rebuilt from its configuration; paths of this machine are written $DATA."""
        words = [f"python -m reproduce {verb} {self.name} --profile {self.base_profile} --seed {self.seed}"]
        shown = [PLACES.get(item.partition("=")[0], item) for item in self.overrides]
        return " ".join(words + shown)


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _is_recipe(key: str) -> bool:
    return key not in EXECUTION_KEYS and not key.startswith("execution.") and not _is_eval(key)


def _is_eval(key: str) -> bool:
    return key.startswith("eval.")


def one_line(error: Exception) -> str:
    """The first line of a library's message, with the key it is about."""
    key = getattr(error, "full_key", None)
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"{key}: {text}" if key else text


@cache
def _read(path: Path) -> dict[str, Any]:
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
        raise UserError(f"{path}: not a configuration: {one_line(error)}") from None
    if not isinstance(tree, dict) or not all(isinstance(part, dict) for part in tree.values()):
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
    return _read(CONFIGS / "runs.yaml")


def run_entry(name: str) -> dict[str, Any]:
    """A line of runs.yaml. Errors: UserError for a run that is not there, or a line that does not say what it is."""
    entry, where = runs().get(name), f"{CONFIGS / 'runs.yaml'}: {name}"
    if entry is None:
        raise UserError(f"{name}: no such run; `python -m reproduce runs` lists them (configs/runs.yaml)")
    if entry.get("recipe") not in RECIPES:
        raise UserError(f"{where}: recipe: {entry.get('recipe')!r} is not one of {', '.join(RECIPES)}")
    for key in ("seeds", "length"):
        if not isinstance(entry.get(key, 1), int) or not 1 <= entry.get(key, 1) <= 1000:
            raise UserError(f"{where}: {key}: {entry[key]!r} is not a number from 1 to 1000")
    return entry


def recipe_of(name: str) -> str:
    """The recipe of a run: cifar10 or imagenet, a file of configs/."""
    return str(run_entry(name)["recipe"])


def default_seeds(name: str) -> int:
    """How many seeds the paper ran (5 for ResNet-110), if SEEDS does not say otherwise."""
    return int(run_entry(name).get("seeds", 1))


def _merge(layers: Sequence[tuple[str, dict[str, Any]]]) -> Any:
    """Merge (where, tree) layers over the schema; the layer at fault is named."""
    merged: Any = OmegaConf.structured(Config)
    for where, tree in layers:
        try:
            merged = OmegaConf.merge(merged, OmegaConf.create(tree))
        except (OmegaConfBaseException, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: {one_line(error)}") from None
    return merged


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
            raise UserError(f"command line: {item}: {one_line(error)}") from None
    try:
        tree = OmegaConf.to_container(OmegaConf.from_dotlist(list(items)), resolve=True)
    except Exception as error:  # values that do not go together
        raise UserError(f"command line: {one_line(error)}") from None
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def profile_layer(profile: str, recipe: str) -> tuple[str, dict[str, Any]]:
    """(where, tree) of what a profile changes in a recipe. Errors: UserError where it has nothing for that recipe."""
    names = sorted(path.stem for path in (CONFIGS / "profiles").glob("*.yaml"))
    if profile not in names:
        raise UserError(f"--profile {profile}: no such profile; there are {', '.join(names)}")
    path = CONFIGS / "profiles" / f"{profile}.yaml"
    parts = _read(path)
    if recipe not in parts:
        made = ", ".join(parts) or "nothing"
        raise UserError(f"--profile {profile}: is made for {made}, not for {recipe} ({path.name})")
    return f"{path.relative_to(CONFIGS.parent)}: {recipe}", parts[recipe]


def profile_name(profile: str, overrides: Sequence[str], recipe: str = "cifar10") -> str:
    """The folder of a profile's results: `paper`, or `paper+<hash8>` once the command line changes a recipe value.

    A seed is no change (seeds share a folder), nor is a value that the profile and all runs of the recipe have anyway.
    """
    path = CONFIGS / f"{recipe}.yaml"
    base = [(path.name, _read(path)), profile_layer(profile, recipe)]
    before, after = _flat(_merge(base)), _flat(_merge([*base, ("command line", parse_overrides(overrides))]))
    given = flatten(parse_overrides(overrides))
    changed = {key: value for key, value in after.items() if _is_recipe(key) and value != before[key]}
    changed |= {key: after[key] for key in given if _is_recipe(key) and _some_run_differs(recipe, key, after[key])}
    changed.pop("train.seed", None)
    return f"{profile}+{digest(changed)[:8]}" if changed else profile


def _flat(merged: Any) -> dict[str, Any]:
    return flatten(OmegaConf.to_container(merged, resolve=False, enum_to_str=True))  # type: ignore[arg-type]


def _some_run_differs(recipe: str, key: str, value: Any) -> bool:
    """Whether a run's own line has another value: warmup_lr=0 is the recipe's, but a change to ResNet-110."""
    part, _, name = key.partition(".")
    entries = [entry for entry in runs().values() if entry["recipe"] == recipe]
    if key in ("train.iterations", "train.milestones") and any("length" in entry for entry in entries):
        return True
    return any(entry.get(part, {}).get(name, value) != value for entry in entries)


def resolve(name: str, profile: str = "paper", overrides: Sequence[str] = (), seed: int | None = None) -> Run:
    """The run `name` under a profile and overrides. Errors: UserError naming file and key, in one line."""
    entry, recipe = run_entry(name), recipe_of(name)
    difference = {key: value for key, value in entry.items() if key not in ("recipe", "seeds", "length")}
    given = [item for item in overrides if not item.startswith("train.seed=")]
    layers = [
        (f"configs/{recipe}.yaml", _read(CONFIGS / f"{recipe}.yaml")),
        (f"configs/runs.yaml: {name}", difference),
        profile_layer(profile, recipe),
    ]
    layers.append((f"configs/runs.yaml: {name}", _lengthened(_merge(layers).train, entry.get("length", 1))))
    layers.append(("command line", parse_overrides(overrides)))
    if seed is not None:
        layers.append(("--seed", {"train": {"seed": seed}}))
    merged = _merge(layers)
    for key in OmegaConf.missing_keys(merged):
        raise UserError(f"configs/{recipe}.yaml: {key}: has no value")
    if merged.execution.devices == 0:
        merged = OmegaConf.merge(merged, {"execution": {"devices": _visible_devices()}})
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    check(flatten(asdict(config)), "command line" if overrides else layers[2][0])
    return Run(name, profile_name(profile, given, recipe), profile, tuple(given), config)


def _lengthened(train: Any, times: int) -> dict[str, Any]:
    """A training `times` as long, its learning rate dropping as much later."""
    if times == 1:
        return {}
    return {"train": {"iterations": times * train.iterations, "milestones": [times * i for i in train.milestones]}}


def _visible_devices() -> int:
    import torch  # takes seconds, and is needed for nothing else here

    return max(1, torch.cuda.device_count())
