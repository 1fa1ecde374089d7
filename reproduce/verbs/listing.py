"""Verbs that say what there is: runs, nets, names of profiles. Nothing is trained."""

import argparse

from reproduce.errors import UserError
from reproduce.verbs.selection import emit, selected, words


def runs(args: argparse.Namespace) -> int:
    from reproduce import config

    if args.recipe not in (None, *config.recipes()):
        raise UserError(f"runs: {args.recipe} is not one of {', '.join(config.recipes())}")
    print("\n".join(name for name in config.runs() if args.recipe in (None, config.recipe_of(name))))
    return 0


def describe(args: argparse.Namespace) -> int:
    from reproduce import count
    from reproduce.build import build_net
    from reproduce.schema import flatten

    for run in selected(args, all_seeds=False):
        net = build_net(run.config)
        facts = {
            "layers": count.layers(net),
            "parameters": count.parameters(net),
            "multiply_adds": count.multiply_adds(net, run.config.data.paper_size),
        }
        sizes = f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds"
        text = f"{run.name}: {facts['layers']} layers, {sizes}"
        lines = [f"  {key}: {value}" for key, value in sorted(flatten(run.tree()).items())]
        emit(args, {"run": run.name, **facts, "config": run.tree()}, "\n".join([text, *lines]))
    return 0


def architectures(args: argparse.Namespace) -> int:
    from reproduce.architectures import write

    print(write())
    return 0


def profile_name(args: argparse.Namespace) -> int:
    from reproduce import config

    names, overrides = words(args)
    recipe = config.recipe_of(names[0]) if names else None
    print(config.profile_name(args.profile, overrides, recipe))
    return 0
