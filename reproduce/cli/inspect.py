"""Commands that say what there is: runs, nets, names of profiles. Nothing is trained."""

import argparse
from typing import TYPE_CHECKING, Any

from reproduce.cli.arguments import emit, selected, words
from reproduce.utils.errors import UserError

if TYPE_CHECKING:
    from torch import nn


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
        facts: dict[str, int | str] = {
            "layers": complexity.layers(net),
            "parameters": complexity.parameters(net),
            "multiply_adds": complexity.multiply_adds(net, run.config.data.paper_size),
        }
        sizes = f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds"
        text = f"{run.name}: {facts['layers']} layers, {sizes}"
        lines = [f"  {key}: {value}" for key, value in sorted(flatten(run.to_dict()).items())]
        facts |= {"recipe_hash": run.recipe_hash}
        text = "\n".join([text, layer_table(net, run.config.data.paper_size), *lines])
        emit(args, {"run": run.name, **facts, "config": run.to_dict()}, text)
    return 0


def layer_table(net: "nn.Module", size: int) -> str:
    """The net as Table 1 prints one: stage, how often, layers, side of the output map in pixels, shortcut."""
    from reproduce.evaluation.architectures import parts
    from reproduce.utils.console import table

    rows = [
        [
            f"  {part['name']}",
            f"{part['times']} x",
            " | ".join(_words(layer) for layer in part["layers"]),
            str(part["layers"][-1]["output"]),
            (part["shortcut"] or {}).get("kind", ""),
        ]
        for part in parts(net.to("meta"), size)
    ]
    return table(rows, ["  stage", "", "layers", "side", "shortcut"], right={1, 3})


def _words(layer: dict[str, Any]) -> str:
    """3x3, 64, stride 2; or: fc, 10."""
    if "kernel" not in layer:
        return f"{layer['kind']}, {layer['filters']}"
    stride = f", stride {layer['stride']}" if layer["stride"] > 1 else ""
    pool = "max pool, " if layer["kind"] == "max pool" else ""
    return f"{pool}{layer['kernel']}x{layer['kernel']}, {layer['filters']}{stride}"


def architectures(args: argparse.Namespace) -> int:
    from reproduce.evaluation.architectures import write

    print(write())
    return 0


def profile_name(args: argparse.Namespace) -> int:
    from reproduce.config import load

    names, overrides = words(args)
    recipes = [load.recipe_of(names[0])] if names else load.recipes()
    problems = []
    for recipe in recipes:  # without a run: of the first recipe that knows the keys
        try:
            print(load.profile_name(args.profile, overrides, recipe))
            return 0
        except UserError as error:
            problems.append(error)
    raise problems[0]
