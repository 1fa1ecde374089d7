"""Verbs that say what there is: runs, nets, names of profiles. Nothing is trained."""

import argparse

from reproduce.cli.arguments import emit, selected, words
from reproduce.utils.errors import UserError


def runs(args: argparse.Namespace) -> int:
    from reproduce.config import load

    if args.recipe not in (None, *load.recipes()):
        raise UserError(f"runs: {args.recipe} is not one of {', '.join(load.recipes())}")
    print("\n".join(name for name in load.runs() if args.recipe in (None, load.recipe_of(name))))
    return 0


def describe(args: argparse.Namespace) -> int:
    from reproduce.config.schema import flatten
    from reproduce.models import complexity
    from reproduce.models.build import build_net

    for run in selected(args, all_seeds=False):
        net = build_net(run.config)
        facts = {
            "layers": complexity.layers(net),
            "parameters": complexity.parameters(net),
            "multiply_adds": complexity.multiply_adds(net, run.config.data.paper_size),
        }
        sizes = f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds"
        text = f"{run.name}: {facts['layers']} layers, {sizes}"
        lines = [f"  {key}: {value}" for key, value in sorted(flatten(run.to_dict()).items())]
        emit(args, {"run": run.name, **facts, "config": run.to_dict()}, "\n".join([text, *lines]))
    return 0


def architectures(args: argparse.Namespace) -> int:
    from reproduce.evaluation.architectures import write

    print(write())
    return 0


def profile_name(args: argparse.Namespace) -> int:
    from reproduce.config import load

    names, overrides = words(args)
    recipe = load.recipe_of(names[0]) if names else None
    print(load.profile_name(args.profile, overrides, recipe))
    return 0
