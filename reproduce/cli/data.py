"""Commands on an ImageNet folder: making it, checking it, decoding it once."""

import argparse
from pathlib import Path

from reproduce.utils.errors import UserError

SIDE = 480  # the largest shorter side of the paper's training view


def prepare_imagenet(args: argparse.Namespace) -> int:
    from reproduce.data.imagenet.archives import prepare
    from reproduce.data.imagenet.check import check
    from reproduce.utils.environment import cores

    root = _named(args, "root", "DATA")
    prepare(root, _named(args, "tars", "TARS"), args.labels, args.md5)
    return check(root, False, cores())


def imagenet_shards(args: argparse.Namespace) -> int:
    from reproduce.data.imagenet.write_shards import predecode
    from reproduce.utils.environment import cores

    side = _side(args)
    shards = predecode(_named(args, "root", "DATA"), side, args.shards, cores())
    words = f"data.predecoded={side}" + (f" data.shards={shards.folder}" if args.shards else "")
    print(f"{shards.folder}: {shards.n:,} images in {len(shards):,} shards; to train from them: {words}")
    return 0


def check_data(args: argparse.Namespace) -> int:
    from reproduce.data.imagenet.check import check
    from reproduce.utils.environment import cores

    root = _named(args, "root", "DATA")
    predecoded = (_side(args), args.shards) if args.side is not None or args.shards else None
    return check(root, args.decode, cores(), predecoded=predecoded)


def _side(args: argparse.Namespace) -> int:
    side = SIDE if args.side is None else int(args.side)
    if not 32 <= side <= 4096:
        raise UserError(f"{args.command}: --side {side} is not between 32 and 4096 (make ... SIDE={SIDE})")
    return side


def _named(args: argparse.Namespace, option: str, variable: str) -> Path:
    """The folder that an option names. Errors: UserError where it is not given."""
    folder = getattr(args, option)
    if folder is None:
        raise UserError(f"{args.command}: name the folder: --{option} FOLDER (make ... {variable}=FOLDER)")
    return Path(folder).expanduser()
