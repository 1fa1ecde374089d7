"""Configuration: the recipe says what Sec. 4.2 says, every run loads, and bad input is one line."""

import itertools

import pytest

from reproduce import config
from reproduce.classifier import Schedule
from reproduce.config import profile_name, resolve, runs
from reproduce.errors import UserError

PROFILES = ("paper", "short", "folder", "short-folder", "demo", "smoke")


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
    nets = {(resolve(name).config.net.depth, resolve(name).config.net.shortcut) for name in runs()}
    residual = {(depth, "A") for depth in (20, 32, 44, 56, 110, 1202)}
    assert nets == residual | {(depth, "none") for depth in (20, 32, 44, 56, 110)}
    assert config.default_seeds("cifar10-resnet-110") == 5
    assert config.default_seeds("cifar10-resnet-56") == 1
    assert resolve("cifar10-resnet-110").config.train.warmup_lr == 0.01
    assert resolve("cifar10-resnet-110-no-warmup").config.train.warmup_lr == 0.0


@pytest.mark.parametrize(("name", "profile"), list(itertools.product(runs(), PROFILES)))
def test_every_run_loads_under_every_profile(name: str, profile: str) -> None:
    run = resolve(name, profile)
    source = {"paper": "official", "short": "official", "folder": "folder", "short-folder": "folder"}.get(
        profile, "synthetic"
    )
    assert (run.profile, run.config.data.source) == (profile, source)


@pytest.mark.parametrize("profile", ["short", "short-folder"])
def test_short_is_a_tenth_of_every_length_interval_and_window(profile: str) -> None:
    full, short = resolve("cifar10-resnet-110").config.train, resolve("cifar10-resnet-110", profile).config.train
    for key in ("iterations", "test_every", "warmup_window"):
        assert getattr(full, key) == 10 * getattr(short, key)
    assert [step // 10 for step in full.milestones] == list(short.milestones)
    assert (full.precision, short.precision) == ("fp32", "bf16")


def test_plain_and_residual_differ_in_one_value() -> None:
    plain, residual = resolve("cifar10-plain-56").recipe(), resolve("cifar10-resnet-56").recipe()
    assert {key for key in plain if plain[key] != residual[key]} == {"net.shortcut"}


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
    assert plain.recipe_hash != resolve("cifar10-resnet-20", seed=1).recipe_hash
    assert "data.root=$DATA" in moved.command()
    assert "/x" not in moved.command()


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
        ("net.shortcut=D", "net.shortcut"),
        ("net.dpth=3", "net.dpth"),
        ("net.bn_group=many", "net.bn_group"),
        ("data.normalize=channels", "data.mean"),
        ("data.mean=[0.5,0.5]", "TupleConfig"),
        ("data.root=${oc.env:HOME}", "data.root"),
        ("execution.devices=3", "train.batch_size"),
        ("speed.limit=9", "speed"),
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
