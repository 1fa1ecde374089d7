"""What the benchmarks measured, from results/bench/*.json: medians with their range, ratios taken round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from paper_tables.paper import UserError
from paper_tables.results import files
from paper_tables.tables.table import Table

MARKERS = "<!-- speed:begin -->", "<!-- speed:end -->"


def ratios(others: list[float], ours: list[float]) -> list[float]:
    """other / ours, round by round: above 1 where ours is faster."""
    return [other / own for other, own in zip(others, ours, strict=True)]


def step(bench: dict[str, Any]) -> str:
    """Our training step beside the baseline loop and bare PyTorch, and as a part of the GEMM rate."""
    columns = ["net", "precision", "ours, ms/step", "of the GEMM rate"]
    columns += ["(a) baseline loop", "as fast", "threshold", "(b) bare loop", "as fast", "threshold"]
    rows: list[list[str] | str] = [_step_row(row) for row in bench["rows"]]
    rounds = len(bench["rows"][0]["seconds"]["ours"])
    bf16 = "has" if bench["bf16_instructions"] else "has no"
    head = f"{_machine(bench)}; it {bf16} bf16 instructions. Batch {bench['batch']}, {bench['images']}; "
    head += f"medians of {rounds} rounds in turns, and how many times as fast ours is (range). "
    head += "A threshold within the 95 % interval of the median is undecided. "
    rates = {row["precision"]: f"{row['gemm'] / 1e9:,.0f} GFLOP/s in {row['precision']}" for row in bench["rows"]}
    head += f"GEMM rate, of a product of large matrices: {', '.join(rates.values())}."
    return f"{head}\n\n{Table('step', '', columns, rows).markdown()}{_batches(bench['rows'])}"


def _step_row(row: dict[str, Any]) -> list[str]:
    seconds = row["seconds"]
    baseline = min((times for name, times in seconds.items() if name.startswith("usual")), key=statistics.median)
    floor = row["flops"] / row["gemm"]
    share = f"{100 * floor / statistics.median(seconds['ours']):.0f} %"
    cells = [row["net"], row["precision"], _milliseconds(seconds["ours"]), share]
    for name, other in (("usual", baseline), ("bare", seconds["bare"])):
        threshold = row["bars"][name]
        cells += [_milliseconds(other), _ratio_text(other, seconds["ours"])]
        verdict = f"{threshold} {decided(ratios(other, seconds['ours']), threshold)}"
        cells.append(verdict if row["precision"] == "bf16" else "for bf16")
    return cells


def decided(values: list[float], threshold: float) -> str:
    """met, not met, or undecided where the median's 95 % interval (ranks n/2 ± 0.98 sqrt(n)) holds the threshold."""
    n, ordered = len(values), sorted(values)
    rank = max(0, int(n / 2 - 0.98 * n**0.5))
    low, high = ordered[rank], ordered[n - 1 - rank]
    return "met" if low >= threshold else "not met" if high < threshold else "undecided"


def _milliseconds(seconds: list[float]) -> str:
    """Whole ones above 20 ms."""
    value = 1000 * statistics.median(seconds)
    return f"{value:.0f}" if value > 20 else f"{value:.2f}"


def _batches(rows: list[dict[str, Any]]) -> str:
    """How long the batches alone take, where that was measured."""
    made = [row["seconds"]["batches"] for row in rows if "batches" in row["seconds"]]
    if not made:
        return ""
    return f"\n50 iterations' batches alone: {_milliseconds([50 * statistics.median(times) for times in made])} ms.\n"


def variants(bench: dict[str, Any]) -> str:
    """The variants of executing a step, each against the first of its net."""
    rows: list[list[str] | str] = []
    for net, variants in groupby(bench["rows"], key=itemgetter("net")):
        first, *others = variants
        rows.append(net)
        for variant in (first, *others):
            seconds, start = variant["seconds"], max(variant["start"], 0)
            faster = _ratio_text(first["seconds"], seconds)
            rows.append(
                [variant["variant"], _milliseconds(seconds), faster, f"{start:.0f}" if start >= 1 else "below 1"]
            )
    head = f"{_machine(bench)}. The bare loop, batch {bench['batch']}, {bench['images']}; medians of "
    head += f"{len(bench['rows'][0]['seconds'])} rounds in turns, compared with the first variant of the net."
    columns = ["variant", "ms/step", "as fast (range)", "first turn longer by, s"]
    return f"{head}\n\n{Table('variants', '', columns, rows).markdown()}"


def _precision(bench: dict[str, Any]) -> str:
    """What was computed; measurements from before it was recorded were made in bf16."""
    return str(bench.get("precision", "bf16"))


def jobs(bench: dict[str, Any]) -> str:
    """Several trainings at a time on one device: all of them together against one alone, of the same kind of step."""
    alone = {row["captured"]: row["images_per_second"] for row in bench["rows"] if row["jobs"] == 1}
    rows: list[list[str] | str] = []
    for row in bench["rows"]:
        rates = row["images_per_second"]
        step = ("CUDA graph" if row["captured"] else "eager") + (", MPS" if row.get("mps") else "")
        rows.append([str(row["jobs"]), step, _spread(rates, ",.0f"), _ratio_text(rates, alone[row["captured"]])])
    head = f"{_machine(bench)}. {bench['run']}, batch {bench['batch']}, {_precision(bench)}, {bench['images']}; "
    head += f"a process each, cores divided; medians of {len(bench['rows'][0]['images_per_second'])} rounds in turns."
    columns = ["at a time", "step", "images/s in all (range)", "times one alone (range)"]
    return f"{head}\n\n{Table('jobs', '', columns, rows).markdown()}"


def data(bench: dict[str, Any]) -> str:
    """ImageNet's training view against torchvision's reference pipeline; which waits, the loader or the net."""
    seconds: dict[str, list[float]] = bench["seconds"]
    columns = ["training view", "images/s per core (range)", "as fast as the reference (range)", "threshold"]
    rows: list[list[str] | str] = []
    for name, times in seconds.items():
        speed = _spread([1 / t for t in times], ",.0f")
        rows.append([name, speed, _ratio_text(seconds["reference"], times), _per_core(name, times, bench)])
    if "per_core" not in bench:  # measured before there were such thresholds
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    head = f"{_machine(bench)}. {bench['images']}, CPU time, medians of {len(seconds['ours'])} rounds in turns; "
    faster = statistics.median(ratios(seconds["reference"], seconds["ours"]))
    head += f"threshold {bench['bar']} {_verdict(faster, bench['bar'])}."
    table = Table("data", "", columns, rows).markdown()
    lines = [f"Loader alone, {bench['workers']} workers: {bench['loader']:,.0f} images/s."]
    if "threads_cut" in bench:
        lines.append(f"{bench['workers']} threads that cut from shards: {bench['threads_cut']:,.0f} images/s.")
    core = 1 / statistics.median(seconds["ours, as a worker sends it"])
    lines += [bottleneck(net, speed, bench["loader"], core) for net, speed in bench["from_memory"].items()]
    return f"{head}\n\n{table}\n{' '.join(lines)}\n"


def _per_core(name: str, times: list[float], bench: dict[str, Any]) -> str:
    """Which of the thresholds for a view (must and aim, in images/s per core) are met."""
    thresholds = bench.get("per_core", {}).get(name, [])
    return ", ".join(f"{least:,} {_verdict(1 / statistics.median(times), least)}" for least in thresholds)


def imagenet(bench: dict[str, Any]) -> str:
    """Training at ImageNet's shapes: ours from memory beside a bare loop, and with files decoded meanwhile."""
    seconds: dict[str, list[float]] = bench["seconds"]
    words = {"ours": "ours, from memory", "bare": "bare loop, from memory", "loader": "ours, through the loader"}
    rows: list[list[str] | str] = []
    for name, times in seconds.items():
        speed = _spread([bench["batch"] / t for t in times], ",.1f")
        rows.append([words[name], speed, _ratio_text(seconds["bare"], times) if name == "ours" else ""])
    head = f"{_machine(bench)}. {bench['run']}, batch {bench['batch']}, crops of {bench['crop']}, {_precision(bench)}, "
    head += f"channels_last{', compiled' if bench['compiled'] else ''}; {bench['images']}; "
    faster = statistics.median(ratios(seconds["bare"], seconds["ours"]))
    head += f"threshold {bench['bar']} {_verdict(faster, bench['bar'])}."
    return f"{head}\n\n{Table('imagenet', '', ['training', 'images/s (range)', 'as fast as bare'], rows).markdown()}"


def report(bench: dict[str, Any]) -> str:
    """The rendering of a whole report: imports, and what comes after them."""
    seconds: dict[str, list[float]] = bench["seconds"]
    whole = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    rows: list[list[str] | str] = []
    for name, times in {"importing": seconds["import"], "rendering": seconds["render"], "both": whole}.items():
        rows.append([name, _spread(times, ".1f")])
    versions = ", ".join(f"{name} {bench['versions'][name]}" for name in ("matplotlib", "pandas"))
    verdicts = (
        f"{word} {most:.0f} s {_verdict(most, statistics.median(whole))}" for word, most in bench["bars"].items()
    )
    head = f"{bench['cpu']}, {bench['cores']} cores, {versions}. Profile `{bench['profile']}`, {bench['trainings']} "
    head += (
        f"trainings; medians of {len(whole)} processes, range in brackets; thresholds of both: {', '.join(verdicts)}."
    )
    return f"{head}\n\n{Table('report', '', ['the whole report', 'seconds'], rows).markdown()}"


def bottleneck(net: str, speed: float, loader: float, core: float) -> str:
    """Which of the two waits for the other, and how many cores would feed this net (images/s, all three)."""
    slower = "the loader" if loader < speed else "the net"
    where = f"the bottleneck is {slower}, {speed / core:.2g} cores feed it"
    return f"{net} trains {speed:,.1f} images/s from memory: {where}."


def _machine(bench: dict[str, Any]) -> str:
    text = f"{bench['device']}, {bench['threads']} threads, torch {bench['versions']['torch']}"
    return text if bench["device"] == bench["cpu"] else f"{text}, {bench['cpu']}, {bench['cores']} cores"


def _ratio_text(others: list[float], ours: list[float]) -> str:
    return _spread(ratios(others, ours), ".2f")


def _spread(values: list[float], form: str) -> str:
    """Median (smallest-largest)."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def _verdict(middle: float, least: float) -> str:
    return "met" if middle >= least else "not met"


FORMS: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {  # benchmark -> its table, what measures it
    "step": (step, "make bench"),
    "variants": (variants, "make bench-variants"),
    "jobs": (jobs, "make bench-jobs"),
    "data": (data, "make bench-data"),
    "imagenet": (imagenet, "make bench-imagenet"),
    "report": (report, "make bench-report"),
}


def text(root: Path, name: str) -> str:
    """One benchmark as Markdown. Raises UserError where it was not run or its file is damaged."""
    path, (form, target) = root / "bench" / f"{name}.json", FORMS[name]
    try:
        return form(files.read_json(path))
    except FileNotFoundError:
        raise UserError(f"{path}: not there; `{target}` measures it") from None
    except (LookupError, TypeError, ValueError, statistics.StatisticsError, ZeroDivisionError) as error:
        raise UserError(f"{path}: not a benchmark ({files.one_line(error)}); `{target}` again") from None


def block(root: Path) -> str:
    """Every benchmark that was run, under the command that measured it."""
    there = [name for name in FORMS if (root / "bench" / f"{name}.json").exists()]
    parts = [f"`{FORMS[name][1]}` printed:\n\n{text(root, name)}" for name in there]
    return "\n".join(parts) or "No benchmark was run yet.\n"
