"""One page per profile: every table and figure in the paper's order, ours beside it. A pure function of results/."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from paper_tables import assets, figures, headline
from paper_tables.claims import Verdict, judge_claims, rule_words, runs_of
from paper_tables.commands import make_command, missing_commands, state_of
from paper_tables.front import claim_groups, claims_table, lead, run_rows, tone
from paper_tables.measure import Conditions, conditions_of
from paper_tables.plots import plot_of
from paper_tables.registry import Artefact, Registry, label_of
from paper_tables.results import Results, Seed
from paper_tables.run_pages import run_page
from paper_tables.run_tables import provenance_of
from paper_tables.table import Table
from paper_tables.tables import artefact_table
from paper_tables.tested import how_tested, how_tested_in

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Section:
    """A table or figure of the paper as the page shows it."""

    artefact: Artefact
    table: Table | None
    drawing: figures.Drawing | None
    command: str
    missing: list[str]  # commands that would fill what is not run
    seeds: list[Seed]
    conditions: Conditions | None
    state: str  # the chip beside the title
    as_paper: bool
    notes: list[str]  # of the table, without its protocol
    plot: dict[str, Any] | None = None  # the curves as data
    runs: list[str] = field(default_factory=list)  # those with a page


def build(results: Results, registry: Registry, report: Path) -> Path:
    """Writes <report>/<profile>/ and returns its index.html."""
    folder = report / results.profile
    sections = [_section(artefact, results, registry, folder) for artefact in registry.artefacts.values()]
    verdicts = judge_claims(results, registry)
    for table in [
        *(s.table for s in sections if s.table),
        claims_table(verdicts, headline.seen_text(headline.conditions_of_all(results, registry)), registry),
    ]:
        write_table(table, folder / "tables")
    page = _page(sections, verdicts, results, registry)
    figures.write(folder / "REPORT.md", render("REPORT.md.j2", page))
    figures.write(folder / "index.html", render("index.html.j2", page))
    _write_runs(results, registry, folder)
    assets.write(folder)
    return folder / "index.html"


def _write_runs(results: Results, registry: Registry, folder: Path) -> None:
    """<folder>/runs/<run>.html for each run that has a finished training."""
    runs = [run for run in registry.nets if run in results.seeds]
    for run in runs:
        seeds = results.seeds[run]
        conditions = conditions_of(seeds, registry, how_tested(seeds, registry, "test_error"))
        caveat = headline.caveat({run.partition("-")[0]: conditions}, results.profile)
        page = run_page(run, results, registry, folder / "runs")
        context = {
            "page": page,
            "others": runs,
            "conditions": _with_remarks(conditions),
            "caveat": caveat,
            "root": "../",
        }
        context |= {"profile": results.profile, "label": label_of}
        figures.write(folder / "runs" / f"{run}.html", render("run.html.j2", context))


def _with_remarks(conditions: Conditions) -> str:
    return f"{conditions} ({conditions.remarks})" if conditions.remarks else str(conditions)


def _section(artefact: Artefact, results: Results, registry: Registry, folder: Path) -> Section:
    drawing = None
    if artefact.spec.get("figure"):
        drawing = figures.draw(artefact, results, registry, folder / "figures")
    seeds = [seed for run in artefact.named_runs() for seed in results.seeds.get(run, [])]
    conditions = conditions_of(seeds, registry, how_tested_in(artefact, results, registry)) if seeds else None
    table = artefact_table(artefact, results, registry)
    protocol = (artefact.protocol, f"Protocol: {artefact.protocol}.")
    return Section(
        artefact=artefact,
        table=table,
        notes=[note for note in table.notes if note not in protocol] if table else [],
        drawing=drawing,
        command=make_command(artefact, results),
        missing=missing_commands(artefact, results),
        seeds=seeds,
        conditions=conditions,
        state=state_of(artefact, results),
        as_paper=results.profile == "paper" and conditions is not None and conditions.as_paper,
        plot=plot_of(artefact, results, registry),
        runs=[run for run in artefact.named_runs() if run in results.seeds],
    )


def why_not(artefact: Artefact) -> str:
    """The words in front of the reason why an artefact has no numbers of ours."""
    return "Nothing to train" if artefact.status == "no training" else f"Not run, {artefact.status}"


def write_table(table: Table, folder: Path) -> None:
    """The table as .md, .csv, .tex and .html."""
    figures.write(folder / f"{table.name}.md", table.markdown_file())
    figures.write(folder / f"{table.name}.csv", table.csv())
    figures.write(folder / f"{table.name}.tex", table.latex())
    figures.write(folder / f"{table.name}.html", render("table.html.j2", {"table": table}))


def pasted(table: Table) -> dict[str, str]:
    """What the copy buttons hold."""
    return {"Markdown": table.markdown_file(), "LaTeX": table.latex(), "CSV": table.csv()}


def _page(sections: list[Section], verdicts: list[Verdict], results: Results, registry: Registry) -> dict[str, Any]:
    seen = headline.conditions_of_all(results, registry)
    summary = headline.table6_summary(results, registry)
    groups = [(word, [v for v in verdicts if v.word == word]) for word in headline.WORDS]
    return {
        "profile": results.profile,
        "profile_words": registry.profile_words(results.profile),
        "seen": headline.seen_text(seen),
        "caveat": headline.caveat(seen, results.profile),
        "groups": [(word, members) for word, members in groups if members],
        "claims": claims_table(verdicts, headline.seen_text(seen), registry),
        "rule": rule_words(registry),
        "summary": summary,
        "imagenet": headline.imagenet_summary(results, registry),
        "fig1_table": next(s.table for s in sections if s.artefact.name == "fig1"),
        "headline": headline.headline(results, registry),
        "sections": sections,
        "skipped": results.skipped,
        "why": lambda section: why_not(section.artefact),
        "provenance_columns": list(provenance_of(results.all_seeds[0])) if results.all_seeds else [],
        "provenance_row": lambda seed: list(provenance_of(seed).values()),
        "root": "",
        "lead": lead([section.state for section in sections], verdicts),
        "glance": {s.artefact.name: s.drawing for s in sections if s.drawing},
        "claim_groups": claim_groups(verdicts),
        "evidence": lambda verdict: [(run, run in results.seeds) for run in runs_of(verdict.claim)],
        "runs": run_rows(results, registry),
        "label": label_of,
        "pasted": pasted,
        "tone": tone,
    }


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
    environment.filters["numeric"] = looks_numeric
    return environment


def looks_numeric(text: str) -> bool:
    """Is the cell a number, for its alignment? 6.43 (6.61 ± 0.16) and 1.25M are, ResNet-110 is not."""
    return bool(text) and text.lstrip("+-−about ").replace("best (", "")[:1].isdigit() and not text.endswith("layers")


def render(template: str, context: dict[str, Any]) -> str:
    return _environment().get_template(template).render(context)
