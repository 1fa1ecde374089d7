"""`python -m paper_tables COMMAND`. Exit code 0 done, 1 failed, 2 bad input, 130 Ctrl-C."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from paper_tables.paper import Artefact, Paper, UserError, load

if TYPE_CHECKING:
    from paper_tables.results.evidence import Evidence
    from paper_tables.results.reader import Results


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line on stderr, where argparse would add the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="python -m paper_tables", description="What the paper says, beside what came out.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words)
        made.set_defaults(run=run)
        return made

    runs = command("runs", _runs, "the run ids that artefacts need, one a line")
    runs.add_argument("artefacts", nargs="+", metavar="ARTEFACT")
    render = command("render", _render, "write the front page and the artefacts, and print these (all: the headline)")
    render.add_argument("artefacts", nargs="+", metavar="ARTEFACT|all")
    check = command("check", _check, "measured against paper, and every claim; exit 1 where one fails")
    headline = command("headline", _headline, "the headline as Markdown")
    readme = command("readme", _readme, "write the overview, benchmarks and reliability that a Markdown file marks")
    readme.add_argument("file", type=Path)
    readme.add_argument("--check", action="store_true", help="change nothing; exit 1 where the file is stale")
    speed = command("speed", _speed, "what a benchmark measured, as a table")
    speed.add_argument("benchmark", choices=["step", "variants", "jobs", "data", "imagenet", "report"])
    compare = command("compare", _compare, "compare runs, or two sets of results: errors, curves, configuration")
    of = "runs of --profile; or A B; or B alone, --profile being A"
    compare.add_argument("what", nargs="+", metavar="RUN|SET", help=of)
    artefacts = command("artefacts", _artefacts, "the trained artefacts as JSON: <report>/<profile>/artefacts.json")
    for each in (render, compare, artefacts):
        each.add_argument("--report", type=Path, default=Path("report"), help="folder of the reports (report)")
    for each in (render, compare):
        each.add_argument("--palette", choices=["safe", "paper"], default="safe", help="colours of the figures (safe)")
    for each in (render, check, headline, readme, compare, artefacts):
        each.add_argument("--profile", default="paper", help="which results (paper)")
    for each in (render, check, headline, readme, speed, compare, artefacts):
        each.add_argument("--results", type=Path, default=Path("results"), help="folder of the results (results)")
    return top


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    try:
        code: int = options.run(options)
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
    """Print what is still in the buffer; where that fails drop it, else Python tries again at its end and complains."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _evidence(options: argparse.Namespace, profile: str = "") -> Evidence:
    """The paper, and the results of --profile (or of another profile) under --results. Raises UserError."""
    from paper_tables.results.evidence import Evidence
    from paper_tables.results.reader import read

    paper = replace(load(), palette=getattr(options, "palette", "safe"))
    return Evidence(paper, read(options.results, paper.check_profile(profile or options.profile, options.results)))


def _runs(options: argparse.Namespace) -> int:
    artefacts = load().select(options.artefacts)
    runs = dict.fromkeys(run for artefact in artefacts for run in artefact.runs())
    if "all" in options.artefacts:
        runs |= dict.fromkeys(load().runs)
    else:
        for artefact in artefacts:
            if not artefact.runs():
                print(f"{artefact.name}: nothing to train, {artefact.status}: {artefact.reason}", file=sys.stderr)
    for run in runs:
        print(run)
    return 0


def _render(options: argparse.Namespace) -> int:
    from paper_tables.report import front_page, page

    evidence = _evidence(options)
    artefacts = evidence.paper.select(options.artefacts)
    path = page.build(evidence, options.report, None if "all" in options.artefacts else artefacts)
    if "all" in options.artefacts:
        print(front_page.headline(evidence))
    else:
        print(front_page.conditions_line(evidence) + "\n")
        for artefact in artefacts:
            print(_words(artefact, evidence))
    anchor = f"#{artefacts[0].name}" if len(artefacts) == 1 else ""
    print(f"report: {path}{anchor}")
    _say_skipped(evidence.results)
    return 0


def _say_skipped(found: Results) -> None:
    for path, reason in found.skipped:
        print(f"skipped {path}: {reason}", file=sys.stderr)


def _words(artefact: Artefact, evidence: Evidence) -> str:
    """An artefact on a terminal: title, caption, table, and why what is missing is missing."""
    from paper_tables.report.commands import missing_commands
    from paper_tables.tables.measured import artefact_table

    table, missing = artefact_table(artefact, evidence), missing_commands(artefact, evidence)
    lines = [f"{artefact.title} (Sec. {artefact.section}). {artefact.caption}", ""]
    if table:
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
    from paper_tables.verdicts.check import check

    text, failed = check(_evidence(options))
    print(text)
    return 1 if failed else 0


def _headline(options: argparse.Namespace) -> int:
    from paper_tables.report.front_page import headline

    print(headline(_evidence(options)), end="")
    return 0


def _readme(options: argparse.Namespace) -> int:
    from paper_tables.report import front_page, overview, reliability, speed
    from paper_tables.report.markdown import update_readme

    blocks = {front_page.MARKERS: overview.overview(_evidence(options))}
    blocks |= {part.MARKERS: part.block(options.results) for part in (speed, reliability)}
    fresh = update_readme(options.file, blocks, options.check)
    if fresh or not options.check:
        return 0
    command = f"python -m paper_tables readme {options.file} --profile {options.profile}"
    print(f"{options.file}: what is generated in it is stale; run {command}", file=sys.stderr)
    return 1


def _speed(options: argparse.Namespace) -> int:
    from paper_tables.report import speed

    print(speed.text(options.results, options.benchmark), end="")
    return 0


def _compare(options: argparse.Namespace) -> int:
    """Runs of one profile, or two sets of results; a set is a profile or its folder."""
    from paper_tables.report import comparison
    from paper_tables.results import reader

    paper, words = replace(load(), palette=options.palette), options.what
    known = {*paper.runs, *(path.parent.name for path in (options.results / options.profile).glob("*/seed-*"))}
    if all(word in known for word in words):
        if len(words) < 2:
            raise UserError(f"compare {words[0]}: name at least two runs")
        made = comparison.of_runs(words, _evidence(options))
    else:
        pair = words if len(words) > 1 else [options.profile, *words]
        runs = [word for word in words if word in known]
        if runs and len(words) > 1:
            strange = next(word for word in words if word not in known)
            raise UserError(
                f"compare {strange}: no such run in the paper or under {options.results / options.profile}, and "
                f"{runs[0]} is one; name runs, or two sets of results"
            )
        if len(pair) != 2 or any(word in known for word in pair):
            raise UserError("compare: name runs, or two sets of results (a profile or its folder), not both")
        a, b = (reader.read(*_set(word, options.results, paper)) for word in pair)
        _say_skipped(a)
        _say_skipped(b)
        made = comparison.of_sets(a, b, (pair[0], pair[1]), paper)
        assert made.points is not None
        print(f"{made.points.caption}\n\n{made.points.markdown()}")
    print(comparison.text(made))
    print(f"page: {comparison.write(made, options.report)}")
    return 0


def _artefacts(options: argparse.Namespace) -> int:
    from paper_tables.report.export import write

    print(write(_evidence(options), options.report))
    return 0


def _set(word: str, root: Path, paper: Paper) -> tuple[Path, str]:
    """results/short or short -> (results, short). Raises UserError."""
    path = Path(word)
    if len(path.parts) > 1:
        if not path.is_dir():
            raise UserError(f"{word}: there is no such folder of results")
        return path.parent, path.name
    return root, paper.check_profile(word, root)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no letter for the sign of plus or minus
    sys.exit(main())
