"""One page per profile: every table and figure in the paper's order, ours beside it. A pure function of results/."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from paper_tables.figures.canvas import Drawing
from paper_tables.figures.draw import METADATA, draw
from paper_tables.figures.interactive import plot_of
from paper_tables.io import write
from paper_tables.paper import Artefact
from paper_tables.report import front_page
from paper_tables.report.commands import make_command, missing_commands, state_of
from paper_tables.report.front_page import claim_groups, claims_table, lead, tone
from paper_tables.report.run_pages import run_page
from paper_tables.results.evidence import Evidence
from paper_tables.results.published import published_words, publishers
from paper_tables.results.reader import RunResult
from paper_tables.tables.every_run import runs_table, seeds_csv
from paper_tables.tables.measured import artefact_table
from paper_tables.tables.runs import provenance_of
from paper_tables.tables.table import NOT_RUN, Table
from paper_tables.verdicts.cells import Conditions, conditions_for, conditions_of
from paper_tables.verdicts.claims import Verdict, judge_claims, on_published_weights, rule_words, runs_of
from paper_tables.verdicts.tested import how_tested_in

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Section:
    """A table or figure of the paper as the page shows it."""

    artefact: Artefact
    table: Table | None
    drawing: Drawing | None
    published: list[tuple[str, str, Drawing]]  # the figure with others' weights: whose, its file without suffix
    formats: list[str]  # of the figure's files
    command: str
    missing: list[str]  # commands that would fill what is not run
    trainings: list[RunResult]
    conditions: Conditions | None
    state: str  # the chip beside the title
    as_paper: bool
    notes: list[str]  # of the table, without its protocol
    plot: dict[str, Any] | None  # the curves as data
    runs: list[str]  # those with a page


def build(evidence: Evidence, report: Path, chosen: list[Artefact] | None = None) -> Path:
    """Writes <report>/<profile>/ and returns its index.html.

    `chosen`: figures and pages of runs are made again only where they show a run of these artefacts (None: all of
    them); of the others what the page shows is made where it is not there yet.
    """
    folder, artefacts = report / evidence.results.profile, list(evidence.paper.artefacts.values())
    runs = {run for artefact in chosen or artefacts for run in artefact.named_runs()}
    again = [a for a in artefacts if chosen is None or a in chosen or runs.intersection(a.named_runs())]
    sections = [_section(artefact, evidence, folder, artefact in again) for artefact in artefacts]
    page = _page(sections, judge_claims(evidence), evidence)
    for table in [*(section.table for section in sections if section.table), page["claims"]]:
        write_table(table, folder / "tables")
    write(folder / "data" / "runs.csv", seeds_csv(evidence))
    write(folder / "REPORT.md", render("REPORT.md.j2", page))
    write(folder / "index.html", render("index.html.j2", page))
    _write_runs(evidence, folder, None if chosen is None else runs)
    write_scripts(folder)
    return folder / "index.html"


def _write_runs(evidence: Evidence, folder: Path, chosen: set[str] | None) -> None:
    """<folder>/runs/<run>.html for each run that has a finished training: the chosen ones, and those not there yet."""
    runs = [run for run in [*evidence.paper.runs, *evidence.other_runs] if run in evidence.results.runs]
    for run in runs:
        if chosen is not None and run not in chosen and (folder / "runs" / f"{run}.html").exists():
            continue
        conditions = conditions_for(evidence.trainings(run), evidence.paper, "test_error")
        caveat = front_page.caveat({evidence.paper.recipe(run).name: conditions}, evidence.results.profile)
        page = run_page(run, evidence, folder / "runs")
        shown = f"{conditions} ({conditions.remarks})" if conditions.remarks else str(conditions)
        context = {"page": page, "others": runs, "conditions": shown, "caveat": caveat, "root": "../"}
        context |= {
            "profile": evidence.results.profile,
            "label": evidence.paper.label,
            "palette": evidence.paper.palette,
        }
        write(folder / "runs" / f"{run}.html", render("run.html.j2", context))


def _section(artefact: Artefact, evidence: Evidence, folder: Path, again: bool) -> Section:
    """`again`: its figure is drawn in every format, else as SVG where there is none."""
    stem = folder / "figures" / artefact.name
    formats = METADATA if again else () if stem.with_suffix(".svg").exists() else ("svg",)
    trainings = [training for run in artefact.named_runs() for training in evidence.trainings(run)]
    conditions = conditions_of(trainings, evidence.paper, how_tested_in(artefact, evidence)) if trainings else None
    table = artefact_table(artefact, evidence)
    protocol = (artefact.protocol, f"Protocol: {artefact.protocol}.")
    return Section(
        artefact=artefact,
        table=table,
        notes=[note for note in table.notes if note not in protocol] if table else [],
        drawing=draw(artefact, evidence, stem, formats) if "figure" in artefact.spec else None,
        published=_with_weights(artefact, evidence, stem),
        formats=[suffix for suffix in METADATA if stem.with_suffix(f".{suffix}").exists()],
        command=make_command(artefact, evidence),
        missing=missing_commands(artefact, evidence),
        trainings=trainings,
        conditions=conditions,
        state=state_of(artefact, evidence),
        as_paper=evidence.results.profile == "paper" and conditions is not None and conditions.as_paper,
        plot=plot_of(artefact, evidence),
        runs=[run for run in artefact.named_runs() if run in evidence.results.runs],
    )


def _with_weights(artefact: Artefact, evidence: Evidence, stem: Path) -> list[tuple[str, str, Drawing]]:
    """The figure once more for each publisher most of whose nets it shows, where the paper's file asks for it."""
    if not artefact.spec.get("with_published_weights"):
        return []
    found = []
    for publisher, nets in publishers(evidence).items():
        if 2 * sum(bool(nets.trainings(run)) for run in artefact.named_runs()) > len(artefact.named_runs()):
            path = stem.with_name(f"{stem.name}-{publisher}")
            found.append((publisher, path.name, draw(artefact, nets, path)))
    return found


def why_not(artefact: Artefact) -> str:
    """What the page says before the reason for an artefact without numbers of ours."""
    return "Nothing to train" if artefact.status == "no training" else f"Not run, {artefact.status}"


def write_table(table: Table, folder: Path) -> None:
    """The table as .md, .csv, .tex and .html."""
    write(folder / f"{table.name}.md", table.markdown_file())
    write(folder / f"{table.name}.csv", table.csv())
    write(folder / f"{table.name}.tex", table.latex())
    write(folder / f"{table.name}.html", render("table.html.j2", {"table": table, "root": "../"}))


def pasted(table: Table) -> dict[str, str]:
    """What the copy buttons hold."""
    return {"Markdown": table.markdown_file(), "LaTeX": table.latex(), "CSV": table.csv()}


def _page(sections: list[Section], verdicts: list[Verdict], evidence: Evidence) -> dict[str, Any]:
    seen = front_page.conditions_of_all(evidence)
    groups = [(word, [v for v in verdicts if v.word == word]) for word in front_page.WORDS]

    def judged(verdict: Verdict) -> bool:
        return verdict.word != NOT_RUN or bool(on_published_weights(verdict.claim, evidence))

    return {
        "profile": evidence.results.profile,
        "profile_words": evidence.paper.profile_words(evidence.results.profile),
        "seen": front_page.seen_text(seen),
        "caveat": front_page.caveat(seen, evidence.results.profile),
        "groups": [(word, members) for word, members in groups if members],
        "claims": claims_table(verdicts, front_page.seen_text(seen), evidence),
        "rule": rule_words(evidence.paper),
        "paper": evidence.paper,
        "front": front_page.front_page(evidence),
        "headline": front_page.headline(evidence),
        "sections": sections,
        "measured": [section for section in sections if section.trainings],
        "rest": [section for section in sections if not section.trainings],
        "skipped": evidence.results.skipped,
        "why": lambda section: why_not(section.artefact),
        "provenance_columns": list(provenance_of(evidence.results.all_runs[0])) if evidence.results.all_runs else [],
        "provenance_row": lambda training: list(provenance_of(training).values()),
        "root": "",
        "lead": lead([section.state for section in sections], verdicts, evidence),
        "drawings": {s.artefact.name: s.drawing for s in sections if s.drawing},
        "judged_claims": claim_groups([v for v in verdicts if judged(v)], evidence.paper),
        "open_claims": claim_groups([v for v in verdicts if not judged(v)], evidence.paper),
        "published_words": published_words(evidence),
        "published_claims": partial(on_published_weights, evidence=evidence) if publishers(evidence) else None,
        "evidence": lambda verdict: [(run, run in evidence.results.runs) for run in runs_of(verdict.claim)],
        "runs": runs_table("runs", "Every training of the paper", list(evidence.paper.runs), evidence),
        "others": runs_table("other-runs", "Runs that the paper does not name", evidence.other_runs, evidence),
        "label": evidence.paper.label,
        "palette": evidence.paper.palette,
        "pasted": pasted,
        "tone": tone,
    }


def write_scripts(folder: Path) -> None:
    """Beside a page and those below it: plotly's own bundle (one file, no network) and ours."""
    write(folder / "assets" / "plotly.min.js", get_plotlyjs())
    write(folder / "assets" / "report.js", (TEMPLATES / "report.js").read_bytes())


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"numeric": looks_numeric, "heads": heads, "indents": indents}
    return environment


def looks_numeric(text: str) -> bool:
    """Is the cell a number, for its alignment? 6.43 (6.61 ± 0.16) and 1.25M are, ResNet-110 is not."""
    return bool(text) and text.lstrip("+-−about ").replace("best (", "")[:1].isdigit() and not text.endswith("layers")


def heads(table: Table) -> list[tuple[str, list[tuple[int, str]]]]:
    """The columns under their common head: "error · paper" and "error · ours" give (error, [(1, paper), (2, here)])."""
    found: list[tuple[str, list[tuple[int, str]]]] = []
    for i, column in enumerate(table.columns):
        title, _, who = column.partition(" · ")
        if not (who and found and found[-1][0] == title and found[-1][1][0][1]):
            found.append((title, []))
        found[-1][1].append((i, "here" if who == "ours" else who))
    return found


NUMBER = re.compile(r"[+−-]?([\d,]+)(?:\.\d+)?[M%]?(?: .*)?")
NO_NUMBER = ("not run", "refused", "paper only", "above", "below", "about", "-")  # as they begin, among numbers


def indents(table: Table) -> dict[tuple[int, int], float]:
    """(row, column) -> by how many digits a number is moved to the right, so that decimal points stand in a line."""
    found: dict[tuple[int, int], float] = {}
    for j in range(1, len(table.columns)):
        cells = {i: row[j] for i, row in enumerate(table.rows) if isinstance(row, list) and row[j]}
        widths = {i: _digits(number[1]) for i, cell in cells.items() if (number := NUMBER.fullmatch(cell))}
        if all(i in widths or cell.startswith(NO_NUMBER) for i, cell in cells.items()):
            found |= {(i, j): max(widths.values()) - width for i, width in widths.items()}
    return found


def _digits(text: str) -> float:
    """Its width in digits; a comma has half of one."""
    return len(text) - text.count(",") / 2


def render(template: str, context: dict[str, Any]) -> str:
    return _environment().get_template(template).render(context)
