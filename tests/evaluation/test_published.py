"""Published weights: known by their content, tested as their publishers trained them, kept apart from our runs."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from reproduce.__main__ import main
from reproduce.evaluation.sources import disagreement, sources
from reproduce.models.resnet import build
from tests.helpers.published import publish

SMOKE = ["--profile", "smoke", "data.subset=2", "execution.threads=1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_table_names_every_file_once_and_runs_that_exist() -> None:
    table = sources()
    assert len({source.sha256[:8] for source in table.values()}) == len(table) == 20
    hashed = [source for source in table.values() if "-" in source.file]  # resnet20-12fca82f.th
    assert all(source.sha256.startswith(Path(source.file).stem.split("-")[1]) for source in hashed)
    for source in table.values():
        model = source.resolved("smoke").config.model
        assert source.builder or str(model.depth) in source.name
        assert (model.shortcut == "none") == ("plain" in source.name)


def test_torchvisions_lines_are_what_torchvision_says_of_them() -> None:
    for source in sources().values():
        if source.publisher == "torchvision":
            weights: Any = torchvision.models.get_model_weights(source.name.split("-")[1])["IMAGENET1K_V1"]
            assert weights.url == f"https://{source.home}/{source.file}"
            accuracy = weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
            assert source.claimed == pytest.approx(100 - accuracy, abs=1e-9)


def saved(name: str, depth: int, shortcut: str, seed: int = 0) -> Path:
    """A CIFAR net with random weights, as a file of ours."""
    torch.save(build(name="cifar-resnet", depth=depth, shortcut=shortcut, seed=seed).state_dict(), name)
    return Path(name)


def test_a_publishers_nets_are_found_tested_and_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("w").mkdir()
    publish(monkeypatch, "a-martyn-plain-20", saved("w/plainnet20.pt", 20, "none"))
    saved("w/mine.pt", 20, "none", seed=5)
    saved("w/resnet20.pt", 20, "A")  # the name of a published file that is not asked for
    Path("w/folder.pt").mkdir()
    words = ["published", "cifar10-plain-20", "cifar10-resnet-110-no-warmup", *SMOKE, "--weights", "w", "--json"]
    assert main(words) == 0
    out = capsys.readouterr()
    found = json.loads(out.out.splitlines()[-1])
    assert "passed over: mine.pt, resnet20.pt" in out.err
    assert "claimed 9.69 % (after the last epoch, by its own log)" in out.out
    [folder] = Path("results/published").glob("synthetic+*/a-martyn-plain-20")  # of a part of the images
    assert json.loads((folder / "eval-single.json").read_text()) == found
    assert (found["run"], found["publisher"], found["n"]) == ("cifar10-plain-20", "a-martyn", 20)
    assert 0 <= found["train_error"] <= 100
    assert len((folder / "responses.csv").read_text().splitlines()) == 1 + 19
    assert not list(Path("results").glob("smoke*"))
    kept = (folder / "eval-single.json").stat().st_mtime_ns
    assert main(words) == 0  # measured already, on these weights and images
    assert (folder / "eval-single.json").stat().st_mtime_ns == kept


def measured(name: str, *more: str) -> dict[str, Any]:
    """Runs `published` for the plain net in w/, and reads what it left under results/published/."""
    assert main(["published", "a-martyn-plain-20", *SMOKE, "--weights", "w", *more]) == 0
    return json.loads((Path("results/published") / name).read_text())


def test_another_test_or_a_part_of_the_images_never_takes_the_place_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("w").mkdir()
    publish(monkeypatch, "a-martyn-plain-20", saved("w/plainnet20.pt", 20, "none"))
    plain = "a-martyn-plain-20/eval-single.json"
    [images] = {place.parts[-3] for place in written()}
    whole = measured(f"{images}/{plain}")
    responses = Path(f"results/published/{images}/a-martyn-plain-20/responses.csv").read_text()
    measured(f"{images}/{plain}", "eval.bn_statistics=recomputed", "eval.precision=fp32")
    measured(f"{images}/{plain}", "data.subset=1")
    assert measured(f"{images}/{plain}") == whole
    assert Path(f"results/published/{images}/a-martyn-plain-20/responses.csv").read_text() == responses
    assert len(list(Path("results/published").rglob("eval-single+*.json"))) == 1
    assert len({place.parts[-3] for place in Path("results/published").rglob("eval-*.json")}) == 2


def written() -> list[Path]:
    assert main(["published", "a-martyn-plain-20", *SMOKE, "--weights", "w"]) == 0
    return list(Path("results/published").rglob("eval-single.json"))


@pytest.mark.parametrize("damage", [{"top1_error": math.nan}, {"data": "x"}, {"claimed": None}, {"train_error": None}])
def test_a_damaged_result_is_measured_again(damage: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("w").mkdir()
    publish(monkeypatch, "a-martyn-plain-20", saved("w/plainnet20.pt", 20, "none"))
    [path] = written()
    good = path.read_text()
    path.write_text(json.dumps(json.loads(good) | damage))
    written()
    assert path.read_text() == good


def as_another_net(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Option A has a plain net's parameters: only the table knows that the file is a plain net."""
    publish(monkeypatch, "a-martyn-plain-20", saved("plainnet20.pt", 20, "none"))
    return ["evaluate", "cifar10-resnet-20", "--weights", "plainnet20.pt"]


def of_another_content(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    saved("a-martyn-plainnet20.pt", 20, "none")
    return ["published", "cifar10-plain-20", "--weights", "."]


def without_a_key(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    state = build(name="cifar-resnet", depth=20, shortcut="none").state_dict()
    torch.save({key: value for key, value in state.items() if key != "fc.bias"}, "plainnet20.pt")
    publish(monkeypatch, "a-martyn-plain-20", Path("plainnet20.pt"))
    return ["published", "cifar10-plain-20", "--weights", "."]


def of_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    publish(monkeypatch, "a-martyn-plain-20", saved("plainnet20.pt", 20, "none"))
    return ["published", "cifar10-plain-20", "--weights", ".", "data.normalize=per-pixel-mean"]


def of_a_seed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["published", "cifar10-plain-20", "--weights", ".", "--seed", "1"]


def in_a_file(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["published", "cifar10-plain-20", "--weights", str(saved("plainnet20.pt", 20, "none"))]


def of_nobody(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["published", "cifar10-plain-20", "--weights", "~nobody-of-this-name/x"]


def nothing_known(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    saved("mine.pt", 20, "none")
    return ["published", "cifar10-plain-20", "--weights", "."]


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (
            as_another_net,
            "a-martyn's net for cifar10-plain-20, not a net of 20 layers, with shortcuts (cifar10-resnet",
        ),
        (of_another_content, "a-martyn-plainnet20.pt: not the file that github.com/a-martyn/resnet published"),
        (without_a_key, "plainnet20.pt: fc.bias is missing"),
        (of_its_own_settings, "data.normalize=per-pixel-mean: a-martyn-plain-20 has its own value of it"),
        (of_a_seed, "published: these nets have no seeds"),
        (in_a_file, "plainnet20.pt: a file; WEIGHTS names its folder"),
        (of_nobody, "~nobody-of-this-name/x: "),
        (nothing_known, "no file of published weights for this; known are plainnet20.pt (github.com/a-martyn/resnet)"),
    ],
)
def test_bad_files_are_one_line_and_nothing_is_written(
    case: Callable[[pytest.MonkeyPatch], list[str]],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = case(monkeypatch)
    assert main([*words, *SMOKE]) == 2
    assert told in capsys.readouterr().err.strip().splitlines()[-1]
    assert not Path("results").exists()


def test_a_known_file_is_tested_with_its_publishers_normalisation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = publish(monkeypatch, "a-martyn-resnet-20", saved("some.pt", 20, "A"))
    assert main(["evaluate", "cifar10-resnet-20", "--weights", "some.pt", *SMOKE, "--json"]) == 0
    by_file = json.loads(capsys.readouterr().out.splitlines()[-1])
    saved("other.pt", 20, "A").write_bytes(with_another_sha256(Path("some.pt")))
    assert main(["evaluate", "cifar10-resnet-20", "--weights", "other.pt", *SMOKE, *source.overrides, "--json"]) == 0
    by_hand = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert by_file["claimed"] == 8.04
    assert "claimed" not in by_hand
    assert by_file["weights_sha256"] == by_hand["weights_sha256"]
    assert by_file["top1_error"] == by_hand["top1_error"]


def with_another_sha256(path: Path) -> bytes:
    """The same tensors in a file of other bytes."""
    state = torch.load(path, weights_only=True)
    torch.save({"state_dict": state}, "wrapped.pt")
    assert hashlib.sha256(Path("wrapped.pt").read_bytes()).digest() != hashlib.sha256(path.read_bytes()).digest()
    return Path("wrapped.pt").read_bytes()


@pytest.mark.parametrize(
    ("error", "source", "differs"),
    [
        (8.27, "folder", False),
        (8.31, "official", False),
        (8.33, "official", True),
        (18.97, "folder", True),
        (90.0, "synthetic", False),
    ],
)
def test_a_claim_is_compared_on_the_publishers_images(error: float, source: str, differs: bool) -> None:
    data = {"official": source == "official", "source": source}
    found = {"protocol": "single", "deviations": {}, "top1_error": error, "claimed": 8.27, "data": data}
    assert bool(disagreement(found)) is differs


def save_theirs(path: Path, model: nn.Module) -> None:
    torch.save(model.state_dict(), path)


def test_torchvisions_weights_are_measured_from_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torchvision's own resnet18 with random weights, in the place of its file."""
    torch.manual_seed(0)
    save_theirs(Path("resnet18-f37072fd.pth"), torchvision.models.resnet18(num_classes=10))
    publish(monkeypatch, "torchvision-resnet18-v1", Path("resnet18-f37072fd.pth"))
    words = ["torchvision-resnet18-v1", "--profile", "smoke", "--weights", ".", "--protocol", "10-crop"]
    assert main(["published", *words]) == 0
    kept = json.loads(Path("results/published/synthetic/torchvision-resnet18-v1/eval-10-crop.json").read_text())
    assert (kept["n"], kept["protocol"], kept["publisher"]) == (10, "10-crop", "torchvision")
    assert "torchvision-resnet18-v1: top-1 error" in capsys.readouterr().out


def test_published_weights_see_what_torchvision_would_show_them(tmp_path: Path) -> None:
    """The centre crop, normalised by channel, through our net: the logits of torchvision's own net and transforms."""
    from torchvision.transforms import v2

    from reproduce.data.build import build_data
    from reproduce.data.imagenet.datamodule import ImageNetDataModule
    from reproduce.evaluation.published import load

    torch.manual_seed(0)
    theirs: Any = torchvision.models.resnet18(num_classes=10).eval()
    save_theirs(tmp_path / "w.pth", theirs)
    source = sources()["torchvision-resnet18-v1"]
    run = source.resolved("smoke", ("eval.precision=fp32",))
    ours, data = load(source, run, tmp_path / "w.pth").eval(), build_data(run.config)
    assert isinstance(data, ImageNetDataModule)
    data.setup("test")
    steps = [
        v2.Resize(72),
        v2.CenterCrop(64),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(source.settings["data.mean"], source.settings["data.std"]),
    ]
    views: Any = v2.Compose(steps)
    same = 0
    with torch.no_grad():
        for (image, _), (x, _) in zip(data.test_images(), data.test_batches("cpu", size=1), strict=True):
            if (72 * max(image.shape[1:]) // min(image.shape[1:])) % 2:
                continue  # torchvision rounds half a pixel to the even side, we round it down
            same += 1
            torch.testing.assert_close(x[0], views(image), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(ours(x), theirs(views(image)[None]), rtol=1e-3, atol=1e-3)
    assert same >= 3
