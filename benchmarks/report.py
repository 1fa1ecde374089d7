"""`python -m benchmarks.report`: how long the report of a profile takes, importing and rendering each by itself."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from paper_tables.paper import UserError, load
from paper_tables.results.files import one_line
from reproduce.utils.environment import commit, cores, cpu_model, versions
from reproduce.utils.files import write_json

RUNS = 5
THRESHOLDS = {"must": 20.0, "aim": 10.0}  # seconds, two cores
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
    machine: dict[str, Any] = {"cpu": f"CPU ({cpu_model()})", "cores": cores(), "versions": versions(PACKAGES)}
    machine |= {"load_before": round(os.getloadavg()[2], 1), "commit": commit()[0]}  # of the last 15 minutes
    time_report(results, profile)
    print(f"timing the report of {profile} {runs} times ...", file=sys.stderr)
    times = [time_report(results, profile) for _ in range(runs)]
    seconds = {part: [found[part] for found in times] for part in ("import", "render")}
    trainings = len(list((results / profile).glob("*/seed-*/result.json")))
    content = machine | {"profile": profile, "trainings": trainings, "bars": THRESHOLDS, "seconds": seconds}
    path = results / "bench" / "report.json"
    write_json(path, content)
    return path


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
