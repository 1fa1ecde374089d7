"""One page per profile: every table and figure in the paper's order, ours beside it. A pure function of results/."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from paper_tables import figures, headline
from paper_tables.claims import Verdict, judge_claims
from paper_tables.commands import make_command, missing_commands, state_of
from paper_tables.measure import Conditions, conditions_of
from paper_tables.registry import Artefact, Registry
from paper_tables.results import Results, Seed
from paper_tables.table import Table
from paper_tables.tables import artefact_table

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


def build(results: Results, registry: Registry, report: Path) -> Path:
    """Writes <report>/<profile>/ and returns its index.html."""
    folder = report / results.profile
    sections = [_section(artefact, results, registry, folder) for artefact in registry.artefacts.values()]
    verdicts = judge_claims(results, registry)
    for table in [
        *(s.table for s in sections if s.table),
        claims_table(verdicts, headline.seen_text(headline.conditions_of_all(results, registry))),
    ]:
        write_table(table, folder / "tables")
    page = _page(sections, verdicts, results, registry)
    figures.write(folder / "REPORT.md", render("REPORT.md.j2", page))
    figures.write(folder / "index.html", render("index.html.j2", page))
    return folder / "index.html"


def _section(artefact: Artefact, results: Results, registry: Registry, folder: Path) -> Section:
    drawing = None
    if artefact.spec.get("figure"):
        drawing = figures.draw(artefact, results, registry, folder / "figures")
    seeds = [seed for run in artefact.named_runs() for seed in results.seeds.get(run, [])]
    conditions = conditions_of(seeds, registry) if seeds else None
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
    )


def why_not(artefact: Artefact) -> str:
    """The words in front of the reason why an artefact has no numbers of ours."""
    return "Nothing to train" if artefact.status == "no training" else f"Not run, {artefact.status}"


def claims_table(verdicts: list[Verdict], conditions: str) -> Table:
    """Every claim under its section; `conditions`: what the measured ones rest on."""
    columns = ["claim", "verdict", "numbers", "margin", "section"]
    rows: list[list[str] | str] = []
    for title, section in (("ImageNet (Sec. 4.1)", "4.1"), ("CIFAR-10 (Sec. 4.2)", "4.2")):
        those = [v for v in verdicts if str(v.claim["section"]).startswith(section)]
        rows += [title, *([str(v.claim["text"]), v.word, v.numbers, v.margin, str(v.claim["section"])] for v in those)]
    caption, notes = (
        "Sentences of Sec. 4.1 and 4.2 that can be checked",
        ["An ordering closer than its margin is undecided."],
    )
    return Table("claims", caption, columns, rows, frozenset({1}), notes, conditions=conditions)


def write_table(table: Table, folder: Path) -> None:
    """The table as .md, .csv, .tex and .html."""
    figures.write(folder / f"{table.name}.md", table.markdown_file())
    figures.write(folder / f"{table.name}.csv", table.csv())
    figures.write(folder / f"{table.name}.tex", table.latex())
    figures.write(folder / f"{table.name}.html", render("table.html.j2", {"table": table}))


def provenance_row(seed: Seed) -> list[str]:
    """One line of provenance, as COLUMNS below names it."""
    p, data = seed.provenance, seed.provenance["data"]
    versions = p.get("versions") if isinstance(p.get("versions"), dict) else {}
    commit = f"{str(p.get('commit') or 'unknown')[:10]}{' + changes' if p.get('dirty') else ''}"
    hours = p.get("hours")
    return [
        seed.run,
        str(seed.seed),
        f"{seed.result['iterations']:,}",
        str(data.get("description", data.get("source", ""))),
        data["fingerprint"].removeprefix("sha256:")[:12],
        p["precision"],
        str(p.get("device", "")),
        f"{p.get('processes', '?')} x {p.get('threads', '?')}",
        str(p.get("bn_group", "")),
        f"{hours:.2f}" if isinstance(hours, int | float) else "",
        str(p.get("resumed", "")),
        commit,
        str((versions or {}).get("torch", "")),
        str(p.get("recipe_hash", ""))[:12],
        str(p.get("command", "")),
    ]


PROVENANCE = ["run", "seed", "iterations", "data", "fingerprint", "precision", "device", "processes x threads"]
PROVENANCE += ["BN group", "hours", "resumed", "commit", "torch", "recipe", "command"]


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
        "claims": claims_table(verdicts, headline.seen_text(seen)),
        "summary": summary,
        "imagenet": headline.imagenet_summary(results, registry),
        "fig1_table": next(s.table for s in sections if s.artefact.name == "fig1"),
        "headline": headline.headline(results, registry),
        "sections": sections,
        "skipped": results.skipped,
        "why": lambda section: why_not(section.artefact),
        "provenance_columns": PROVENANCE,
        "provenance_row": provenance_row,
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
