"""Who may import whom, and what may lie in the repository: the rules that keep it simple, enforced."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000


def module_name(path: Path) -> str:
    """reproduce/models/resnet.py -> reproduce.models.resnet."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(source: str, module: str = "") -> Iterator[str]:
    """What a source file imports, anywhere in it; `from a import b` gives a.b, relative imports are resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            yield from (".".join(filter(None, [*base, node.module, alias.name])) for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def violations(source: str, forbidden: list[str], allowed: tuple[str, ...] = (), module: str = "") -> list[str]:
    found = imports(source, module)
    return [
        name
        for name in found
        if any(within(name, item) for item in forbidden) and not any(within(name, item) for item in allowed)
    ]


def sources(*places: str) -> list[Path]:
    """The Python files below the given packages or modules."""
    paths = [ROOT / place for place in places]
    return sorted(
        file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")])
    )


def imported_on_load(source: str, package: str) -> bool:
    """Is `package` imported as soon as the file is, and not only inside a function?"""
    tree = ast.parse(source)
    inside = {id(node) for outer in ast.walk(tree) if isinstance(outer, ast.FunctionDef) for node in ast.walk(outer)}
    loose = [
        node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside
    ]
    return any(within(name, package) for node in loose for name in imports(ast.unparse(node)))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources("paper_tables"), ids=relative)
def test_the_report_stage_needs_no_training_code(path: Path) -> None:
    heavy = ["reproduce", "torch", "torchvision", "lightning", "pytorch_lightning", "omegaconf", "wandb", "tests"]
    assert violations(path.read_text(), heavy, module=module_name(path)) == []


# Imports run one way: a part may use its own line and the lines above it. `python -m tests.contract.test_layering`
# prints how many imports run from each line to each.
FLOORS = {
    "reproduce": [
        "reproduce.utils",
        "reproduce.config, reproduce.metrics",
        "reproduce.models, reproduce.data, reproduce.tracking",
        "reproduce.training",
        "reproduce.evaluation, reproduce.jobs",
        "reproduce.cli",
        "reproduce.__main__",
    ],
    "paper_tables": [
        "paper_tables.io, paper_tables.paper",
        "paper_tables.results",
        "paper_tables.verdicts",
        "paper_tables.tables",
        "paper_tables.figures",
        "paper_tables.report",
        "paper_tables.__main__",
    ],
}


def floor_of(name: str, floors: list[str]) -> int:
    """The floor of a module. Raises StopIteration for one that stands in no line of the table."""
    return next(i for i, parts in enumerate(floors) if any(within(name, part) for part in parts.split(", ")))


def graph_of(package: str) -> dict[str, set[str]]:
    """module -> the modules of the package that it imports, function-level imports too."""
    files = {module_name(path).removesuffix(".__init__"): path for path in sources(package)}
    return {
        name: {best for used in imports(path.read_text(), name) if (best := longest(used, files)) not in ("", name)}
        for name, path in files.items()
    }


def longest(used: str, modules: Iterable[str]) -> str:
    """The module that `used` names, or that holds it; empty for what is none of them."""
    return max((module for module in modules if within(used, module)), key=len, default="")


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another, whichever are found; none where there is no circle."""
    left = dict(graph)
    while free := [name for name, used in left.items() if not used & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


@pytest.mark.parametrize("package", FLOORS)
def test_imports_run_one_way(package: str) -> None:
    floors, graph = FLOORS[package], graph_of(package)
    rows = [(name, used) for name, all_used in graph.items() for used in all_used if package not in (name, used)]
    upwards = [f"{name} -> {used}" for name, used in rows if floor_of(used, floors) > floor_of(name, floors)]
    assert upwards == []
    assert circle(graph) == []


def test_a_circle_would_be_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b"}, "b": set()}) == []
    assert longest("paper_tables.paper.load", ["paper_tables", "paper_tables.paper"]) == "paper_tables.paper"


def test_a_package_says_in_one_sentence_what_it_is_for() -> None:
    rooms = [path for path in sources("paper_tables", "reproduce", "benchmarks") if path.name == "__init__.py"]
    assert {len(path.read_text().splitlines()) for path in rooms} == {1}


def test_no_test_imports_another() -> None:
    for path in sources("tests"):
        found = imports(path.read_text(), module_name(path))
        assert not [name for name in found if re.search(r"^tests\..*\btest_\w+", name)], path


@pytest.mark.parametrize("path", sources("reproduce"), ids=relative)
def test_training_code_cannot_know_the_numbers_it_is_meant_to_reach(path: Path) -> None:
    assert violations(path.read_text(), ["paper_tables", "tests"], module=module_name(path)) == []
    assert "paper_tables/papers" not in path.read_text()


# What takes its values as arguments and knows no configuration: a reader finds no key in it.
PLAIN = [
    "reproduce/utils",
    "reproduce/metrics",
    *(f"reproduce/models/{name}" for name in ("resnet", "layers", "pretrained", "precise_bn", "complexity")),
    *(f"reproduce/models/{name}" for name in ("boxes", "vgg", "detection_targets", "faster_rcnn")),
    *(
        f"reproduce/data/{name}"
        for name in ("sampling", "workers", "datamodule", "cifar10", "imagenet", "synthetic", "detection")
    ),
    *(f"reproduce/training/{name}" for name in ("module", "classification", "optimizer", "schedule", "cuda_graph")),
]


@pytest.mark.parametrize("path", sources(*PLAIN), ids=relative)
def test_nets_data_and_the_module_take_values_as_arguments(path: Path) -> None:
    assert violations(path.read_text(), ["reproduce.config"], module=module_name(path)) == []


@pytest.mark.parametrize("path", sources("reproduce"), ids=relative)
def test_the_product_knows_no_benchmark(path: Path) -> None:
    assert violations(path.read_text(), ["benchmarks"], module=module_name(path)) == []


def test_wandb_is_optional() -> None:
    users = [path for path in sources("reproduce") if any(within(name, "wandb") for name in imports(path.read_text()))]
    assert len(users) <= 1, "one module observes"
    assert [relative(path) for path in users if imported_on_load(path.read_text(), "wandb")] == []
    drawing = [path for path in sources("reproduce") if imported_on_load(path.read_text(), "wandb_workspaces")]
    assert {path.parent.name for path in drawing} == {"dashboard"}
    assert not imported_on_load((ROOT / "reproduce/tracking/dashboard/refresh.py").read_text(), "wandb_workspaces")


def test_pycocotools_is_imported_where_it_is_used() -> None:
    """By one module, and only once a metric is asked for."""
    users = [path for path in sources("reproduce") if "pycocotools" in "".join(imports(path.read_text()))]
    assert [relative(path) for path in users] == ["reproduce/metrics/coco.py"]
    assert not imported_on_load(users[0].read_text(), "pycocotools")


def test_the_rules_would_be_seen_broken() -> None:
    hidden = "def f():\n    from reproduce import config\n"
    assert violations(hidden, ["reproduce"], ("reproduce.utils",)) == ["reproduce.config"]
    assert violations("from .. import config", ["reproduce"], module="reproduce.models.resnet") == ["reproduce.config"]
    assert violations("import torch.nn as nn", ["torch"]) == ["torch.nn"]
    assert violations("import torchmetrics", ["torch"]) == []
    assert violations("from reproduce.utils.errors import UserError", ["reproduce"], ("reproduce.utils",)) == []
    assert imported_on_load("try:\n    import wandb\nexcept ImportError:\n    pass", "wandb")
    assert not imported_on_load("def f():\n    import wandb\n", "wandb")


# ---- What lies in the repository ----


def kept_files() -> list[Path]:
    """Tracked files, and new ones that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_is_large() -> None:
    assert [relative(path) for path in kept_files() if path.stat().st_size > MEGABYTE] == []


def test_no_package_index_is_named() -> None:
    index = re.compile(rb"index-url|find-links|pypi\.org|download\.pytorch\.org/whl|\[\[?tool\.uv")
    named = [relative(path) for path in kept_files() if path != Path(__file__) and index.search(path.read_bytes())]
    assert named == []
    assert not (ROOT / "uv.lock").exists()


def test_constraints_are_plain_pins() -> None:
    """name==version, sorted, one per line."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pin = re.compile(r"[a-z0-9-]+==[0-9][a-z0-9.]*")
    assert [line for line in lines if not pin.fullmatch(line)] == []
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))


@pytest.mark.parametrize(
    "path", ["reproduce/data/cifar10/datamodule.py", "results/paper/x/seed-0/result.json", "report/short/REPORT.md"]
)
def test_gitignore_keeps_code_and_numbers(path: str) -> None:
    assert not ignored(path)


@pytest.mark.parametrize(
    "path", ["runs/paper/x.ckpt", "data/a.png", ".venv/bin/x", "report/short/index.html", "report/demo/f.svg"]
)
def test_gitignore_drops_what_is_made(path: str) -> None:
    assert ignored(path)


def ignored(path: str) -> bool:
    code = subprocess.run(
        ["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, capture_output=True
    ).returncode
    if code not in (0, 1):
        pytest.skip("not a git checkout")
    return code == 0


def table(package: str) -> str:
    """A line for each floor: its modules, lines of code, and its imports from each floor, the lowest first."""
    floors, graph = FLOORS[package], graph_of(package)
    lengths = {
        module_name(path).removesuffix(".__init__"): len(path.read_text().splitlines()) for path in sources(package)
    }
    rows = []
    for i, parts in enumerate(floors):
        names = [name for name in graph if name != package and floor_of(name, floors) == i]
        used = [floor_of(u, floors) for name in names for u in graph[name] if u != package]
        counts = " ".join(f"{used.count(k):4}" for k in range(len(floors)))
        rows.append(f"{parts:52} {len(names):3} modules {sum(lengths[n] for n in names):5} lines   imports {counts}")
    return "\n".join(rows)


if __name__ == "__main__":
    print("\n\n".join(map(table, FLOORS)))
