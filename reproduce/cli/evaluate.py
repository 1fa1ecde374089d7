"""Commands that measure trained nets: errors on the test images, and layer responses."""

import argparse
from pathlib import Path
from typing import Any

from reproduce.cli.arguments import emit, seeds_asked, selected, words
from reproduce.utils.errors import UserError
from reproduce.utils.files import expanded


def evaluate(args: argparse.Namespace) -> int:
    from reproduce.evaluation.classification import evaluate, launch

    runs = selected(args, all_seeds=args.weights is None)
    fabric = launch(runs[0].config)
    agree = True
    for run in runs:
        found = evaluate(run, args.weights and expanded(args.weights), args.protocol, fabric)
        if fabric.is_global_zero:
            agree &= _show(args, found, f"{run.name} seed {run.seed}")
    return 0 if agree else 1


def ensemble(args: argparse.Namespace) -> int:
    from reproduce.config import load
    from reproduce.evaluation.classification import launch
    from reproduce.evaluation.ensemble import ensemble

    names, overrides = words(args)
    pairs = [name.partition(":") for name in names]
    if not pairs:
        raise UserError("ensemble: name at least one RUN or RUN:FILE; `python -m reproduce runs` lists the runs")
    seeds = seeds_asked(args) or [0]
    runs = [(seed, name, Path(file) if file else None) for name, _, file in pairs for seed in seeds]
    members = [(load.resolve(name, args.profile, overrides, seed), file) for seed, name, file in runs]
    fabric = launch(members[0][0].config)
    found = ensemble(members, args.protocol, fabric)
    if fabric.is_global_zero:
        emit(args, found, f"{found['ensemble']}: {_errors(found)}")
    return 0


def published(args: argparse.Namespace) -> int:
    from reproduce.config import load
    from reproduce.evaluation.classification import launch
    from reproduce.evaluation.published import chosen, evaluate_published

    names, overrides = words(args)
    if seeds_asked(args) is not None:
        raise UserError("published: these nets have no seeds; leave out --seed and --seeds")
    wanted = chosen(names)
    fabric = launch(load.resolve(wanted[0].run, args.profile, overrides).config)
    agree = True
    for found in evaluate_published(wanted, args.weights, args.profile, overrides, args.protocol, fabric):
        if fabric.is_global_zero:
            agree &= _show(args, found, found["name"])
    return 0 if agree else 1


def _show(args: argparse.Namespace, found: dict[str, Any], name: str) -> bool:
    """Prints an evaluation, with what the publisher of its weights claims; whether that agrees."""
    from reproduce.evaluation.sources import disagreement

    claimed = f"; claimed {found['claimed']:.2f} % ({found['claim']})" if "claimed" in found else ""
    reason = disagreement(found)
    emit(args, found, f"{name}: {_errors(found)}{claimed}{f': {reason}' if reason else ''}")
    return not reason


def _errors(found: dict[str, Any]) -> str:
    errors = f"error {found['top1_error']:.2f} %"
    if "top5_error" in found:
        errors = f"top-1 {errors}, top-5 error {found['top5_error']:.2f} %, {found['protocol']}"
    return f"{errors} on {found['n']:,} test images ({found['data']['description']})"


def responses(args: argparse.Namespace) -> int:
    from reproduce.evaluation.responses import responses

    for run in selected(args, all_seeds=False):
        values = responses(run, args.weights)
        text = f"{run.name} seed {run.seed}: std of {len(values)} layers, mean {sum(values) / len(values):.3f}"
        emit(args, {"run": run.name, "std": values}, text)
    return 0
