"""Results with the paper's own numbers, and the reports made of them, once a session."""

import shutil
from pathlib import Path

import pytest

from paper_tables.__main__ import main
from tests.helpers import fake_imagenet
from tests.helpers.evidence import FOUR, ROOT
from tests.helpers.fake_results import write_tree


def rendered(results: Path, out: Path) -> Path:
    assert main(["render", "all", "--results", str(results), "--report", str(out)]) == 0
    return out / "paper"


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/ with every CIFAR run of the paper under profile paper, and four of them under demo."""
    root = write_tree(tmp_path_factory.mktemp("full") / "results")
    return write_tree(root, "demo", FOUR, iterations=300)


@pytest.fixture(scope="session")
def report(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the full tree."""
    return rendered(full, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every ImageNet run with the paper's own numbers, two published weights and an ensemble."""
    root = fake_imagenet.write_tree(tmp_path_factory.mktemp("imagenet") / "results")
    fake_imagenet.write_published(root, "torchvision-resnet50-v1", "10-crop", 22.1, 6.0)
    fake_imagenet.write_published(root, "torchvision-vgg16-v1", "10-crop", 26.1, 8.0, n=100)
    members = ["imagenet-resnet-152", "imagenet-resnet-152:other.safetensors", "imagenet-resnet-50"]
    fake_imagenet.write_ensemble(root, "paper", "three", members, 4.1)
    shutil.copy(ROOT / "results" / "architectures.json", root)
    return root


@pytest.fixture(scope="session")
def imagenet_report(imagenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(imagenet, tmp_path_factory.mktemp("imagenet-report"))
