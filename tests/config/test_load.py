"""Configuration: the recipe says what Sec. 4.2 says, every run loads, and bad input is one line."""

import itertools
import json
import shlex
from pathlib import Path

import pytest
import torch

from reproduce.config import load
from reproduce.config.load import profile_name, resolve, runs
from reproduce.config.schema import ImageNetData
from reproduce.training.schedule import Plateau, Schedule
from reproduce.utils.errors import UserError

PROFILES = ("paper", "short", "folder", "short-folder", "demo", "smoke")


def runs_of(recipe: str) -> list[str]:
    return [name for name in runs() if load.recipe_of(name) == recipe]


def test_the_recipe_is_the_papers() -> None:
    run = resolve("cifar10-resnet-20").config
    train = run.train
    assert (train.iterations, train.batch_size, train.lr, tuple(train.milestones)) == (
        64_000,
        128,
        0.1,
        (32_000, 48_000),
    )
    assert (train.momentum, train.weight_decay, train.nesterov, train.precision) == (0.9, 1e-4, False, "fp32")
    assert (train.test_every, train.warmup_lr, run.data.validation, run.data.normalize) == (
        1000,
        0.0,
        0,
        "per-pixel-mean",
    )


def test_runs_are_those_of_table_6_and_figures_1_and_6() -> None:
    nets = {(resolve(name).config.model.depth, resolve(name).config.model.shortcut) for name in runs_of("cifar10")}
    residual = {(depth, "A") for depth in (20, 32, 44, 56, 110, 1202)}
    assert nets == residual | {(depth, "none") for depth in (20, 32, 44, 56, 110)}
    assert load.default_seeds("cifar10-resnet-110") == 5
    assert load.default_seeds("cifar10-resnet-56") == 1
    assert resolve("cifar10-resnet-110").config.train.warmup_lr == 0.01
    assert resolve("cifar10-resnet-110-no-warmup").config.train.warmup_lr == 0.0


def test_the_imagenet_recipe_is_the_papers() -> None:
    """Sec. 3.4, and Fig. 4 for the milestones."""
    config = resolve("imagenet-resnet-34-B").config
    train, data = config.train, config.data
    assert isinstance(data, ImageNetData)
    assert (train.iterations, train.batch_size, train.lr, train.milestones) == (600_000, 256, 0.1, (150_000, 300_000))
    assert (train.momentum, train.weight_decay, train.nesterov, train.precision) == (0.9, 1e-4, False, "fp32")
    assert (data.shorter_side, data.crop, data.test_side, data.colour_noise) == ((256, 480), 224, 256, 0.1)
    assert config.eval.test_sides == (224, 256, 384, 480, 640)
    assert (train.test_every, train.warmup_lr, config.model.stride) == (5000, 0.0, "first-1x1")


def test_imagenet_runs_are_those_of_tables_2_to_4_and_the_footnotes() -> None:
    nets = {(resolve(name).config.model.depth, resolve(name).config.model.shortcut) for name in runs_of("imagenet")}
    assert nets == {
        *((18, "none"), (34, "none"), (50, "none"), (18, "A"), (34, "A"), (34, "B"), (34, "C")),
        *((50, "B"), (101, "B"), (152, "B")),
    }
    assert resolve("imagenet-resnet-50-v1.5").config.model.stride == "3x3"


def test_three_times_the_length_drops_the_rate_three_times_as_late() -> None:
    train = resolve("imagenet-plain-34-3x").config.train
    assert (train.iterations, train.milestones) == (1_800_000, (450_000, 900_000))
    short = resolve("imagenet-plain-34-3x", "short", ["train.milestones=[1]"]).config.train
    assert (short.iterations, short.milestones) == (180_000, (1,))


def test_the_hash_of_every_run_stays() -> None:
    """Results are known by it: a key that is added later must leave it alone, by its default."""
    pinned = json.loads((Path(__file__).resolve().parents[1] / "golden" / "recipe_hashes.json").read_text())
    assert {name: resolve(name).recipe_hash for name in runs()} == pinned


def test_a_value_counts_where_it_differs_from_the_default() -> None:
    recipe = resolve("cifar10-resnet-20", overrides=["train.nesterov=true", "train.momentum=0.9"]).recipe()
    assert recipe["train.nesterov"] is True
    assert not {"train.momentum", "task", "model.init", "data.side"} & set(recipe)


EVERYWHERE = [
    (name, profile)
    for name, profile in itertools.product(runs(), PROFILES)
    if not (profile == "demo" and load.recipe_of(name) == "imagenet")
]


@pytest.mark.parametrize(("name", "profile"), EVERYWHERE)
def test_every_run_loads_under_every_profile(name: str, profile: str) -> None:
    run = resolve(name, profile)
    source = {"paper": "official", "short": "official", "folder": "folder", "short-folder": "folder"}.get(
        profile, "synthetic"
    )
    assert (run.profile, run.config.data.source) == (profile, source)


@pytest.mark.parametrize("name", ["cifar10-resnet-110", "imagenet-resnet-50"])
@pytest.mark.parametrize("profile", ["short", "short-folder"])
def test_short_is_a_tenth_of_every_length_interval_and_window(profile: str, name: str) -> None:
    full, short = resolve(name).config.train, resolve(name, profile).config.train
    keys = ("iterations", "test_every", "warmup_window") if name.startswith("cifar") else ("iterations", "test_every")
    for key in keys:
        assert getattr(full, key) == 10 * getattr(short, key)
    assert [step // 10 for step in full.milestones] == list(short.milestones)
    assert (full.precision, short.precision) == ("fp32", "fp32")  # their numbers are shown


def test_plain_and_residual_differ_in_one_value() -> None:
    plain, residual = resolve("cifar10-plain-56").recipe(), resolve("cifar10-resnet-56").recipe()
    assert {key for key in plain if plain[key] != residual[key]} == {"model.shortcut"}


def test_learning_rate_at_the_turns_of_the_schedule() -> None:
    schedule = Schedule(0.1, (32_000, 48_000), warmup_lr=0.01)
    rates = [schedule.at(i, warming=False) for i in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert schedule.at(0, warming=True) == 0.01


def test_overrides_of_the_recipe_have_a_folder_of_their_own() -> None:
    assert profile_name("paper", []) == "paper"
    assert (
        profile_name("paper", ["train.iterations=64000", "train.seed=4", "data.root=/x", "execution.devices=8"])
        == "paper"
    )
    changed = profile_name("paper", ["train.precision=bf16"])
    assert changed.startswith("paper+")
    assert len(changed) == len("paper+") + 8
    assert changed != profile_name("paper", ["train.precision=tf32"])


def test_what_is_a_change_to_one_run_has_a_folder_of_its_own() -> None:
    """No warm-up is the recipe's own value, but not ResNet-110's."""
    assert resolve("cifar10-resnet-110", overrides=["train.warmup_lr=0"]).profile.startswith("paper+")
    assert resolve("cifar10-resnet-110", overrides=["train.lr=0.1"]).profile == "paper"


def test_execution_is_recorded_but_not_hashed() -> None:
    plain, moved = (
        resolve("cifar10-resnet-20"),
        resolve("cifar10-resnet-20", overrides=["data.root=/x", "train.compile=true"]),
    )
    assert plain.recipe_hash == moved.recipe_hash
    assert plain.recipe_hash == resolve("cifar10-resnet-20", seed=1).recipe_hash  # seeds of one recipe
    assert plain.recipe_hash != resolve("cifar10-resnet-20", overrides=["train.lr=0.2"]).recipe_hash
    assert "data.root=$DATA" in moved.command()
    assert "/x" not in moved.command()


def test_the_command_of_a_run_is_one_for_a_shell() -> None:
    words = ["data.mean=[0.1, 0.2, 0.3]", "data.std=[1, 1, 1]", "data.normalize=channels", "data.root=/my data"]
    run = resolve("cifar10-resnet-20", "short", words, 3)
    there = shlex.split(run.command().replace("$DATA", "'/my data'"))
    assert there == ["python", "-m", "reproduce", *run.arguments()]
    assert run.arguments(jobs=2)[-1] == "execution.jobs=2"
    assert (run.results, run.workdir) == (Path("results") / run.folder, Path("runs") / run.folder)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.lr=nan", "train.lr"),
        ("train.lr=-1", "train.lr"),
        ("train.lr=fast", "train.lr"),
        ("train.iterations=yes", "train.iterations"),
        ("train.iterations=0", "train.iterations"),
        ("train.iterations=1.5", "train.iterations"),
        ("train.batch_size=1e400", "train.batch_size"),
        ("train.milestones=[3,1]", "train.milestones"),
        ("train.precision=fp8", "train.precision"),
        ("model.shortcut=D", "model.shortcut"),
        ("model.name=lenet", "model.name"),
        ("model.block=wide", "model.block"),
        ("model.zero_padding=start", "model.zero_padding"),
        ("model.subsample=max", "model.subsample"),
        ("model.stride=1x1", "model.stride"),
        ("model.init=xavier", "model.init"),
        ("model.bn_group=0", "model.bn_group"),
        ("model.dpth=3", "model.dpth"),
        ("model.bn_group=many", "model.bn_group"),
        ("data.source=cifar", "data.source: 'cifar' should be 'official', 'folder' or 'synthetic'"),
        ("data.normalize=mean", "data.normalize: 'mean' should be 'per-pixel-mean' or 'channels'"),
        ("data.normalize=channels", "data.mean"),
        ("data.mean=[0.5,0.5]", "data.mean"),
        ("data.root=${oc.env:HOME}", "data.root"),
        ("execution.devices=3", "train.batch_size"),
        ("execution.micro_batch=-1", "execution.micro_batch"),
        ("speed.limit=9", "speed"),
        ("data.crop=64", "data.crop: there is no such key for data.name=cifar10"),
        ("train.lr_policy=plateau", "train.plateau_watch"),
        ("train=3", "section.key=value"),
        ("train.lr=[1", "flow sequence"),
    ],
)
def test_bad_values_are_one_line_naming_the_key(override: str, key: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("cifar10-resnet-20", overrides=[override])
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["execution.devices=3"], "train.batch_size: 128 is not divisible by 3 (execution.devices, nodes); {ways}"),
        (
            ["execution.devices=2", "execution.micro_batch=48"],
            "execution.micro_batch: 64 images per device are no multiple of 48; {ways}",
        ),
        (["execution.micro_batch=256"], "execution.micro_batch: 128 images per device are no multiple of 256; {ways}"),
        (
            ["execution.micro_batch=32", "model.bn_group=64"],
            "model.bn_group: 32 images per micro-batch are no multiple of the group of 64",
        ),
        (["model.bn_group=48"], "model.bn_group: 128 images per device are no multiple of the group of 48"),
        (
            ["execution.micro_batch=32", "train.compile=true"],
            "execution.micro_batch: does not go with train.compile=true",
        ),
    ],
)
def test_a_batch_that_does_not_divide_is_one_line_with_the_ways_out(words: list[str], message: str) -> None:
    ways = "change execution.devices, execution.micro_batch or train.batch_size (the last is another recipe)"
    with pytest.raises(UserError) as caught:
        resolve("cifar10-resnet-20", overrides=words)
    assert str(caught.value) == "command line: " + message.format(ways=ways)


def test_micro_batches_are_no_other_recipe() -> None:
    words = ["execution.micro_batch=32", "model.bn_group=16"]
    assert resolve("cifar10-resnet-20", overrides=words[:1]).profile == "paper"
    assert (
        resolve("cifar10-resnet-20", overrides=words).recipe_hash
        == resolve("cifar10-resnet-20", overrides=words[1:]).recipe_hash
    )


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("data.crop=300", "data.shorter_side"),
        ("data.shorter_side=[480,256]", "data.shorter_side"),
        ("data.test_side=200", "data.test_side"),
        ("eval.test_sides=[256,224]", "eval.test_sides"),
        ("data.colour_noise=-1", "data.colour_noise"),
        ("train.batch_size=0", "train.batch_size"),
        ("train.lr_policy=cosine", "train.lr_policy"),
        ("train.plateau_watch=test", "train.plateau_watch"),  # never the images that a table counts
    ],
)
def test_bad_values_of_imagenet_are_one_line_naming_the_key(override: str, key: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("imagenet-resnet-50", overrides=[override])
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plateau_over_held_out_images_needs_some() -> None:
    words = ["train.lr_policy=plateau", "train.plateau_watch=validation"]
    with pytest.raises(UserError, match="data.validation"):
        resolve("imagenet-resnet-50", overrides=words)
    resolve("imagenet-resnet-50", overrides=[*words, "data.validation=50000"])


def test_the_rate_drops_where_the_error_has_not_gained_for_as_many_points() -> None:
    plateau = Plateau("train", patience=2, gain=0.5)
    assert plateau.drops([90, 80, 70, 60]) == 0
    assert plateau.drops([90, 80, 79.9, 79.8]) == 1
    assert plateau.drops([90, 80, 79.9, 79.0]) == 0  # 1.0 below the best ends the waiting
    assert plateau.drops([90, 80, 80, 80, 70, 70, 70]) == 2
    schedule = Schedule(0.1, (5,), plateau=plateau)
    assert schedule.at(100, False, [{"train_error": 50.0}] * 3) == pytest.approx(0.01)


def test_a_slow_fall_is_no_plateau() -> None:
    """0.15 a point with a gain of 0.2: every second point gains, so the rate stays."""
    assert Plateau("train", patience=5, gain=0.2).drops([50 - 0.15 * k for k in range(16)]) == 0


def test_a_plateau_is_what_torchs_scheduler_takes_for_one() -> None:
    random = torch.Generator().manual_seed(0)
    drops = []
    for patience, gain in itertools.product((1, 2, 3, 5), (0.0, 0.1, 0.5, 2.0)):
        for _ in range(20):
            errors = (60 - torch.randn(60, generator=random).add(0.1).cumsum(0)).tolist()
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            options = {"threshold": gain, "threshold_mode": "abs", "patience": patience - 1, "eps": 0.0}
            torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)  # type: ignore[arg-type]
            for error in errors:
                torchs.step(error)
            drops.append((Plateau("train", patience, gain).drops(errors), optimizer.param_groups[0]["lr"]))
    assert [10.0**-ours for ours, _ in drops] == pytest.approx([lr for _, lr in drops])
    assert len({ours for ours, _ in drops}) > 10


@pytest.mark.parametrize(
    ("name", "profile", "word"),
    [
        ("cifar10-resnet-21", "paper", "no such run"),
        ("cifar10-plain-20", "papr", "papr"),
        ("cifar10-plain-20", "../cifar10", "no such profile"),
    ],
)
def test_unknown_names_are_one_line(name: str, profile: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        resolve(name, profile)


def test_only_the_demo_shrinks_its_images() -> None:
    sides = {profile: side_of("cifar10-resnet-20", profile) for profile in ("demo", "paper", "short", "smoke")}
    assert sides == {"demo": 16, "paper": None, "short": None, "smoke": None}
    for run, word in (("cifar10-resnet-20", "data.side=12"), ("imagenet-resnet-50", "data.side=16")):
        with pytest.raises(UserError, match="data.side: "):
            resolve(run, overrides=[word])


def side_of(run: str, profile: str) -> int | None:
    data = resolve(run, profile).config.data
    return data.side if data.name == "cifar10" else None
