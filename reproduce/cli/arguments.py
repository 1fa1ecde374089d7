"""From the words of a command line to runs."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reproduce.utils.errors import UserError

if TYPE_CHECKING:
    from reproduce.config.run import Run


def words(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The names among the words, and the overrides (key=value)."""
    return [word for word in args.words if "=" not in word], [word for word in args.words if "=" in word]


def selected(args: argparse.Namespace, all_seeds: bool) -> "list[Run]":
    """The runs a command line names, one per seed. Errors: UserError when it names none."""
    names, overrides = words(args)
    if not names:
        raise UserError(f"{args.command}: name at least one run; `python -m reproduce runs` lists them")
    return resolved(args, names, overrides, all_seeds)


def resolved(args: argparse.Namespace, names: Sequence[str], overrides: Sequence[str], all_seeds: bool) -> "list[Run]":
    """These runs, one per seed: the seeds asked for, else all that configs/runs.yaml gives a run, or the first."""
    from reproduce.config import load

    pairs = [(name, seed) for name in dict.fromkeys(names) for seed in _seeds(args, name, overrides, all_seeds)]
    return [load.resolve(name, args.profile, overrides, seed) for name, seed in pairs]


def seeds_asked(args: argparse.Namespace) -> Sequence[int] | None:
    """Of --seed and --seeds; None without them. Errors: UserError for a number that is none."""
    if args.seed is not None and args.seed < 0:
        raise UserError(f"--seed {args.seed}: 0 or more")
    if args.seeds is not None and args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: at least 1")
    if args.seed is not None:
        return [args.seed]
    return range(args.seeds) if args.seeds else None


def _seeds(args: argparse.Namespace, name: str, overrides: Sequence[str], all_seeds: bool) -> Sequence[int | None]:
    from reproduce.config.load import default_seeds

    asked = seeds_asked(args)
    if asked is not None:
        return asked
    if any(item.startswith("train.seed=") for item in overrides):
        return [None]
    return range(default_seeds(name) if all_seeds else 1)


def emit(args: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    """The text, and with --json the value as the last line."""
    print(text)
    if args.json:
        print(json.dumps(value))
