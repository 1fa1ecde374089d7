"""What benchmarks measured as tables: medians, ratios round by round, thresholds; damaged files are one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main, parser
from paper_tables.paper import UserError
from paper_tables.report import reliability, speed

MACHINE = {"device": "CPU (x)", "cpu": "CPU (x)", "cores": 2, "threads": 2, "versions": {"torch": "2.15.0"}}
USUAL = {"usual, 0 workers": [0.2, 0.25, 0.3], "usual, 2 workers": [0.4] * 3}
SECONDS = {"ours": [0.1] * 3, **USUAL, "bare": [0.09] * 3}
ROW: dict[str, Any] = {"net": "ResNet-20", "precision": "bf16", "seconds": SECONDS, "flops": 3e9, "gemm": 1e11}
ROW["bars"] = {"usual": 2.5, "bare": 0.98}
STEP = {"images": "synthetic images", "batch": 128, "bf16_instructions": True}
VIEWS = {"reference": [0.004, 0.004], "ours": [0.002, 0.001], "ours, as a worker sends it": [0.001, 0.001]}
LOADER = {"images": "synthetic images", "bar": 1.8, "seconds": VIEWS, "workers": 2, "loader": 900.0}


@pytest.fixture
def benches(tmp_path: Path) -> Path:
    write(tmp_path, "step", MACHINE | STEP | {"rows": [ROW]})
    write(tmp_path, "data", MACHINE | LOADER | {"from_memory": {"ResNet-18": 4000.0, "ResNet-50": 800.0}})
    return tmp_path


def write(root: Path, name: str, content: Any) -> Path:
    path = root / "bench" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_a_ratio_is_taken_round_by_round() -> None:
    assert speed.ratios([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]) == [2.0, 4.0, 3.0]


def test_the_step_is_compared_with_the_better_baseline_loop(benches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "step", "--results", str(benches)]) == 0
    out = capsys.readouterr().out
    usual, bare = "250 | 2.50 (2.00-3.00) | 2.5 undecided", "90 | 0.90 (0.90-0.90) | 0.98 not met"
    assert out.splitlines()[-1] == f"| ResNet-20 | bf16 | 100 | 30 % | {usual} | {bare} |"
    assert (
        "CPU (x), 2 threads, torch 2.15.0; it has bf16 instructions. Batch 128, synthetic images; medians of 3" in out
    )


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([2.0] * 7 + [2.1] * 18, "met"),
        ([1.9] * 8 + [2.1] * 17, "undecided"),
        ([1.9] * 17 + [2.1] * 8, "undecided"),
        ([1.9] * 18 + [2.1] * 7, "not met"),
        ([2.1, 1.9, 2.1], "undecided"),
        ([2.0], "met"),
    ],
)
def test_noise_decides_nothing(values: list[float], verdict: str) -> None:
    """Of 25 values the 8th and the 18th bound the median with 95 %."""
    assert speed.decided(values, 2.0) == verdict


def test_the_thresholds_are_for_bf16() -> None:
    text = speed.step(MACHINE | STEP | {"rows": [ROW | {"precision": "fp32"}]})
    assert "met" not in text
    assert "large matrices: 100 GFLOP/s in fp32." in text
    assert "for bf16" in text


def test_the_slower_one_is_the_bottleneck(benches: Path) -> None:
    text = speed.text(benches, "data")
    assert "| ours | 750 (500-1,000) | 3.00 (2.00-4.00) |" in text
    assert "threshold 1.8 met" in text
    assert "ResNet-18 trains 4,000.0 images/s from memory: the bottleneck is the loader, 4 cores feed it." in text
    assert "ResNet-50 trains 800.0 images/s from memory: the bottleneck is the net, 0.8 cores feed it." in text


def test_a_loader_has_thresholds_per_core() -> None:
    bench = MACHINE | LOADER | {"from_memory": {}, "per_core": {"ours": [800, 1000]}, "threads_cut": 12345.6}
    text = speed.data(bench)
    assert "| training view | images/s per core (range) | as fast as the reference (range) | threshold |" in text
    assert "| ours | 750 (500-1,000) | 3.00 (2.00-4.00) | 800 not met, 1,000 not met |" in text
    assert "2 threads that cut from shards: 12,346 images/s." in text


def test_a_gpu_is_named_with_the_cores_beside_it() -> None:
    row = ROW
    text = speed.step(MACHINE | STEP | {"device": "H100", "rows": [row]})
    assert text.startswith("H100, 2 threads, torch 2.15.0, CPU (x), 2 cores; it has")


def test_a_gpu_has_thresholds_by_depth_and_captured_rows() -> None:
    seconds = {"ours": [0.0005, 0.0005], "usual, 0 workers": [0.004, 0.004], "bare": [0.00049, 0.00049]}
    row = {"net": "ResNet-20, CUDA graph", "precision": "bf16", "seconds": seconds | {"batches": [1e-5, 1e-5]}}
    text = speed.step(MACHINE | STEP | {"rows": [ROW | row | {"gemm": 1e14, "bars": {"usual": 6.0, "bare": 0.99}}]})
    wanted = "| ResNet-20, CUDA graph | bf16 | 0.50 | 6 % | 4.00 | 8.00 (8.00-8.00) | 6.0 met |"
    assert wanted + " 0.49 | 0.98 (0.98-0.98) | 0.99 not met |" in text
    assert "50 iterations' batches alone: 0.50 ms." in text


def test_jobs_stand_beside_one_alone_with_the_same_step() -> None:
    rates = {
        (1, False): [100.0, 100.0],
        (2, False): [150.0, 160.0],
        (1, True): [400.0, 400.0],
        (2, True): [800.0, 600.0],
    }
    rows = [{"jobs": k, "captured": graph, "images_per_second": found} for (k, graph), found in rates.items()]
    text = speed.jobs(MACHINE | {"run": "cifar10-resnet-20", "batch": 128, "images": "x", "rows": rows})
    assert "| 2 | eager | 155 (150-160) | 1.55 (1.50-1.60) |" in text
    assert "| 2 | CUDA graph | 700 (600-800) | 1.75 (1.50-2.00) |" in text


def test_a_way_is_held_against_the_first_of_its_net(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = {("ResNet-20", "a"): [0.1, 0.3], ("ResNet-20", "b"): [0.05, 0.1], ("ResNet-56", "a"): [0.4, 0.4]}
    rows = [{"net": net, "variant": way, "seconds": found, "start": 27.6} for (net, way), found in times.items()]
    rows[-1]["start"] = -0.1
    write(tmp_path, "variants", MACHINE | {"batch": 128, "images": "x", "rows": rows})
    assert main(["speed", "variants", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "| b | 75 | 2.50 (2.00-3.00) | 28 |" in out
    assert out.splitlines()[-1] == "| a | 400 | 1.00 (1.00-1.00) | below 1 |"


def test_every_benchmark_has_its_word_and_its_target() -> None:
    assert all(target.startswith("make bench") for _, target in speed.FORMS.values())
    for name in speed.FORMS:
        assert parser().parse_args(["speed", name]).benchmark == name


def test_imagenet_training_stands_beside_a_bare_loop() -> None:
    seconds = {"ours": [0.5, 0.4], "bare": [0.5, 0.5], "loader": [1.0]}
    found = {"run": "imagenet-resnet-50", "batch": 256, "crop": 224, "compiled": True, "bar": 0.97, "images": "x"}
    text = speed.imagenet(MACHINE | found | {"seconds": seconds})
    assert "imagenet-resnet-50, batch 256, crops of 224, bf16, channels_last, compiled; x; threshold 0.97 met." in text
    assert "| ours, from memory | 576.0 (512.0-640.0) | 1.12 (1.00-1.25) |" in text
    assert "| ours, through the loader | 256.0 (256.0-256.0) |  |" in text


@pytest.mark.parametrize("content", [[], {}, MACHINE | STEP | {"rows": []}, MACHINE | STEP | {"rows": [{"net": "x"}]}])
def test_a_damaged_file_is_one_line(benches: Path, content: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(benches, "step", content)
    assert main(["speed", "step", "--results", str(benches)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{path}: not a benchmark" in said
    path.unlink()
    assert main(["speed", "step", "--results", str(benches)]) == 2
    assert "not there; `make bench` measures it" in capsys.readouterr().err


def test_the_readme_gets_what_was_measured(benches: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{speed.MARKERS[0]}\nold\n{speed.MARKERS[1]}\nafter\n")
    words = ["readme", str(readme), "--results", str(benches)]
    assert main([*words, "--check"]) == 1
    assert main(words) == 0
    assert main([*words, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{speed.MARKERS[0]}\n`make bench` printed:\n")
    assert "`make bench-data` printed:" in text
    assert text.endswith(f"{speed.MARKERS[1]}\nafter\n")


def test_the_readme_gets_what_the_tests_of_reliability_reached(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(reliability.MARKERS))
    words = ["readme", str(readme), "--results", str(tmp_path)]
    assert main(words) == 0
    assert "Not run yet." in readme.read_text()
    rows = [["T3", "kill -9", "19/20", "20/20", False], ["T10", "empty share", "3", "3", True]]
    found = {"rows": rows, "counts": {"passed": 1246, "failed": 1}, "seconds": 660, "examples": 1000}
    write(tmp_path, "reliability", MACHINE | found | {"versions": {"torch": "2.15.0", "lightning": "2.6.6"}})
    assert main(words) == 0
    text = readme.read_text()
    assert "lightning 2.6.6: 1,246 passed, 1 failed in 11 minutes, 1,000 examples" in text
    assert "| T3 | kill -9 | 19/20 | 20/20 | no |\n| T10 | empty share | 3 | 3 | yes |" in text
    write(tmp_path, "reliability", [1])
    with pytest.raises(UserError, match="`make test-reliability`"):
        reliability.block(tmp_path)
