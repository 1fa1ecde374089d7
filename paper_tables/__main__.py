"""`python -m paper_tables VERB`, as `parser` below lists them. Exit code 0 done, 1 failed, 2 bad input, 130 Ctrl-C."""

from __future__ import annotations

import argparse
import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from paper_tables.registry import Artefact, Registry, UserError, load

if TYPE_CHECKING:
    from paper_tables.results import Results


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line on stderr, where argparse would add the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="python -m paper_tables", description="What the paper says, beside what came out.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    runs = verbs.add_parser("runs", help="the run ids that artefacts need, one a line")
    runs.add_argument("artefacts", nargs="+", metavar="ARTEFACT")
    render = verbs.add_parser("render", help="write the report and print the named artefacts (all: the headline)")
    render.add_argument("artefacts", nargs="+", metavar="ARTEFACT|all")
    check = verbs.add_parser("check", help="measured against paper, and every claim; exit 1 where one fails")
    headline = verbs.add_parser("headline", help="the headline as Markdown")
    readme = verbs.add_parser(
        "readme", help="put overview, benchmarks and reliability between the markers of a Markdown file"
    )
    readme.add_argument("file", type=Path)
    readme.add_argument("--check", action="store_true", help="change nothing; exit 1 where the file is stale")
    speed = verbs.add_parser("speed", help="what a benchmark measured, as a table")
    speed.add_argument("benchmark", choices=["step", "options", "jobs", "loader", "imagenet", "report"])
    speed.add_argument("--results", type=Path, default=Path("results"), help="folder of the results (results)")
    bench = verbs.add_parser("bench", help="time the rendering of a profile's report: results/bench/report.json")
    compare = verbs.add_parser(
        "compare", help="runs, or two sets of results, side by side: errors, curves, configuration"
    )
    compare.add_argument(
        "what", nargs="+", metavar="RUN|SET", help="runs of --profile; or A B; or B alone, --profile being A"
    )
    artefacts = verbs.add_parser("artefacts", help="the trained artefacts as JSON: <report>/<profile>/artefacts.json")
    for verb in (render, compare, artefacts):
        verb.add_argument("--report", type=Path, default=Path("report"), help="folder of the reports (report)")
    for verb in (render, compare):
        verb.add_argument("--palette", choices=["safe", "paper"], default="safe", help="colours of the figures (safe)")
    for verb in (render, check, headline, readme, bench, compare, artefacts):
        verb.add_argument("--profile", default="paper", help="which results (paper)")
        verb.add_argument("--results", type=Path, default=Path("results"), help="folder of the results (results)")
    return top


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    verbs = {"runs": _runs, "render": _render, "check": _check, "headline": _headline, "readme": _readme}
    verbs |= {"speed": _speed, "bench": _bench, "compare": _compare, "artefacts": _artefacts}
    try:
        code = verbs[options.verb](options)
        print(end="", flush=True)  # what cannot be written is to be known here
        return code
    except UserError as error:
        print(f"python -m paper_tables: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head`: the reader has seen enough
        _end_output()
        return 0
    except OSError as error:
        _end_output()
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print("python -m paper_tables:", " ".join(text.split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _end_output() -> None:
    """Print what is still held back; where that fails drop it, else Python tries again at its end and complains."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _runs(options: argparse.Namespace) -> int:
    artefacts = load().select(options.artefacts)
    runs = dict.fromkeys(run for artefact in artefacts for run in artefact.runs())
    if "all" in options.artefacts:
        runs |= dict.fromkeys(load().nets)
    else:
        for artefact in artefacts:
            if not artefact.runs():
                print(f"{artefact.name}: nothing to train, {artefact.status}: {artefact.reason}", file=sys.stderr)
    for run in runs:
        print(run)
    return 0


def _render(options: argparse.Namespace) -> int:
    from paper_tables import commands, headline, report, results
    from paper_tables.tables import artefact_table

    registry = replace(load(), palette=options.palette)
    artefacts = registry.select(options.artefacts)
    found = results.read(options.results, registry.check_profile(options.profile, options.results))
    page = report.build(found, registry, options.report)
    if "all" in options.artefacts:
        print(headline.headline(found, registry))
    else:
        print(headline.conditions_line(found, registry) + "\n")
        for artefact in artefacts:
            print(
                _words(artefact, artefact_table(artefact, found, registry), commands.missing_commands(artefact, found))
            )
    anchor = f"#{artefacts[0].name}" if len(artefacts) == 1 else ""
    print(f"report: {page}{anchor}")
    _say_skipped(found)
    return 0


def _say_skipped(found: Results) -> None:
    for path, reason in found.skipped:
        print(f"skipped {path}: {reason}", file=sys.stderr)


def _words(artefact: Artefact, table: object, missing: list[str]) -> str:
    """An artefact on a terminal: title, caption, table, and why what is missing is missing."""
    from paper_tables.table import Table

    lines = [f"{artefact.title} (Sec. {artefact.section}). {artefact.caption}", ""]
    if isinstance(table, Table):
        lines += [table.markdown(), *(f"{note}\n" for note in table.notes)]
    if "text" in artefact.spec:
        lines += [artefact.spec["text"], ""]
    if artefact.status != "measured":
        nothing = "nothing to train" if artefact.status == "no training" else f"not run, {artefact.status}"
        lines += [f"{nothing}: {artefact.reason}", ""]
    if missing:
        lines += ["not run yet:", *(f"  {command}" for command in missing), ""]
    return "\n".join(lines)


def _check(options: argparse.Namespace) -> int:
    from paper_tables import check, results

    registry = load()
    found = results.read(options.results, registry.check_profile(options.profile, options.results))
    text, failed = check.check(found, registry)
    print(text)
    return 1 if failed else 0


def _headline(options: argparse.Namespace) -> int:
    from paper_tables import headline, results

    registry = load()
    found = results.read(options.results, registry.check_profile(options.profile, options.results))
    print(headline.headline(found, registry), end="")
    return 0


def _readme(options: argparse.Namespace) -> int:
    from paper_tables import headline, overview, reliability, results, speed

    registry = load()
    found = results.read(options.results, registry.check_profile(options.profile, options.results))
    blocks = {headline.MARKERS: overview.overview(found, registry)}
    blocks |= {part.MARKERS: part.block(options.results) for part in (speed, reliability)}
    fresh = headline.update_readme(options.file, blocks, options.check)
    if options.check and not fresh:
        command = f"python -m paper_tables readme {options.file} --profile {options.profile}"
        print(f"{options.file}: what is generated in it is stale; run {command}", file=sys.stderr)
    return 1 if options.check and not fresh else 0


def _speed(options: argparse.Namespace) -> int:
    from paper_tables import speed

    print(speed.text(options.results, options.benchmark), end="")
    return 0


def _bench(options: argparse.Namespace) -> int:
    from paper_tables import bench

    load().check_profile(options.profile, options.results)
    print(bench.bench(options.results, options.profile))
    return 0


def _compare(options: argparse.Namespace) -> int:
    """Runs of one profile, or two sets of results; a set is a profile or its folder."""
    from paper_tables import comparison, results

    registry = replace(load(), palette=options.palette)
    words = options.what
    if all(word in registry.nets for word in words):
        if len(words) < 2:
            raise UserError(f"compare {words[0]}: name at least two runs")
        found = results.read(options.results, registry.check_profile(options.profile, options.results))
        made = comparison.of_runs(words, found, registry)
    else:
        pair = words if len(words) > 1 else [options.profile, *words]
        runs = [word for word in words if word in registry.nets]
        if runs and len(words) > 1:
            strange = next(word for word in words if word not in registry.nets)
            raise UserError(f"compare {strange}: no such run, and {runs[0]} is one; name runs, or two sets of results")
        if len(pair) != 2 or any(word in registry.nets for word in pair):
            raise UserError("compare: name runs, or two sets of results (a profile or its folder), not both")
        a, b = (results.read(*_set(word, options.results, registry)) for word in pair)
        _say_skipped(a)
        _say_skipped(b)
        made = comparison.of_sets(a, b, (pair[0], pair[1]), registry)
        assert made.points is not None
        print(f"{made.points.caption}\n\n{made.points.markdown()}")
    print(comparison.text(made))
    print(f"page: {comparison.write(made, options.report)}")
    return 0


def _artefacts(options: argparse.Namespace) -> int:
    from paper_tables import artefacts, results

    registry = load()
    found = results.read(options.results, registry.check_profile(options.profile, options.results))
    print(artefacts.write(found, registry, options.report))
    return 0


def _set(word: str, root: Path, registry: Registry) -> tuple[Path, str]:
    """results/short or short -> (results, short). Raises UserError."""
    path = Path(word)
    if len(path.parts) > 1:
        if not path.is_dir():
            raise UserError(f"{word}: there is no such folder of results")
        return path.parent, path.name
    return root, registry.check_profile(word, root)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no letter for the sign of plus or minus
    sys.exit(main())
