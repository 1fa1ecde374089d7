"""`python -m benchmarks.report`: how long the report of a profile takes, importing and rendering each by itself."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from paper_tables.paper import UserError, load
from paper_tables.results.files import one_line

RUNS = 5
BARS = {"must": 20.0, "aim": 10.0}  # seconds, two cores
PACKAGES = ("jinja2", "matplotlib", "numpy", "pandas", "plotly")
# What `python -m paper_tables render all` does, with a clock at the start, after the imports and at the end.
TIMED = """
import json, sys, time
began = time.perf_counter()
from paper_tables.report import front_page, page
from paper_tables.results import reader
from paper_tables.__main__ import main
imported = time.perf_counter()
code = main(sys.argv[1:])
print(json.dumps({"import": imported - began, "render": time.perf_counter() - imported}))
sys.exit(code)
"""


def time_report(results: Path, profile: str) -> dict[str, float]:
    """Seconds of one rendering into a folder that is thrown away. Raises UserError where the profile has no report."""
    with tempfile.TemporaryDirectory() as report:
        words = ["render", "all", "--profile", profile, "--results", str(results), "--report", report]
        done = subprocess.run([sys.executable, "-c", TIMED, *words], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{profile}: cannot be rendered ({one_line(RuntimeError(done.stderr.strip()))})")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def bench(results: Path, profile: str, runs: int = RUNS) -> Path:
    """results/bench/report.json: seconds of each of the runs; one before them warms the caches of the disk."""
    machine = _machine()
    time_report(results, profile)
    print(f"timing the report of {profile} {runs} times ...", file=sys.stderr)
    times = [time_report(results, profile) for _ in range(runs)]
    seconds = {part: [found[part] for found in times] for part in ("import", "render")}
    path = results / "bench" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**machine, "profile": profile, "trainings": _trainings(results / profile), "bars": BARS}
    path.write_text(json.dumps({**content, "seconds": seconds}, indent=2) + "\n")
    return path


def _trainings(folder: Path) -> int:
    return len(list(folder.glob("*/seed-*/result.json")))


def _machine() -> dict[str, Any]:
    """Processor, cores, versions and commit, named as in the files of `reproduce`, which is not imported here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    load = round(os.getloadavg()[2], 1)  # of the last 15 minutes
    return {"cpu": _cpu(), "cores": cores, "versions": versions, "load_before": load, "commit": _commit()}


def _cpu() -> str:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return f"CPU ({next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), name)})"


def _commit() -> str | None:
    words = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Times the report of a profile.")
    parser.add_argument("--profile", default="paper", help="which results (paper)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results (results)")
    options = parser.parse_args(argv)
    try:
        load().check_profile(options.profile, options.results)
        print(bench(options.results, options.profile))
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
