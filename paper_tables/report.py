"""One page per profile: every table and figure in the paper's order, ours beside it. A pure function of results/."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from paper_tables import figures, headline
from paper_tables.claims import Verdict, judge_claims
from paper_tables.measure import Conditions, conditions_of
from paper_tables.registry import Artefact, Registry
from paper_tables.results import Results, Seed
from paper_tables.tables import Table, artefact_table

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


def build(results: Results, registry: Registry, report: Path) -> Path:
    """Writes <report>/<profile>/ and returns its index.html."""
    folder = report / results.profile
    sections = [_section(artefact, results, registry, folder) for artefact in registry.artefacts.values()]
    verdicts = judge_claims(results, registry)
    for table in [
        *(s.table for s in sections if s.table),
        claims_table(verdicts, headline.conditions_of_all(results, registry)),
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
    return Section(
        artefact=artefact,
        table=artefact_table(artefact, results, registry),
        drawing=drawing,
        command=make_command(artefact, results),
        missing=missing_commands(artefact, results),
        seeds=seeds,
        conditions=conditions,
        state=state_of(artefact, results),
        as_paper=results.profile == "paper" and conditions is not None and conditions.as_paper,
    )


def make_command(artefact: Artefact, results: Results) -> str:
    changed = overrides(results)
    values = f' SET="{changed}"' if changed else ""
    return f"make {artefact.target} PROFILE={results.profile.partition('+')[0]}{values}"


def overrides(results: Results) -> str:
    """The recipe values that the command line changed in a profile <profile>+<hash8>: those of its first training."""
    words = results.all_seeds[0].provenance.get("command", "").split() if results.all_seeds else []
    kept = [word for word in words if "=" in word and not word.startswith(("data.root=", "execution."))]
    return " ".join(kept) if "+" in results.profile else ""


def missing_commands(artefact: Artefact, results: Results) -> list[str]:
    """What to type for each number of a trainable artefact that is not there yet."""
    option = f"--profile {results.profile.partition('+')[0]} {overrides(results)}".rstrip()
    commands = []
    for run in artefact.runs():
        seeds = results.seeds.get(run, [])
        if not seeds:
            commands.append(f"python -m reproduce train {run} {option}")
        if artefact.spec.get("figure") == "responses" and not any(s.responses is not None for s in seeds):
            commands.append(f"python -m reproduce responses {run} {option}")
    return commands


def state_of(artefact: Artefact, results: Results) -> str:
    """measured, k of n runs, not run; or the status of what is not trained here."""
    runs = artefact.runs()
    if not runs:
        return artefact.status
    needs_responses = artefact.spec.get("figure") == "responses"
    measured = {s.run for s in results.all_seeds if s.responses is not None or not needs_responses}
    done = len(measured & set(runs))
    return "not run" if not done else "measured" if done == len(runs) else f"{done} of {len(runs)} runs"


def why_not(artefact: Artefact) -> str:
    """The words in front of the reason why an artefact has no numbers of ours."""
    return "Nothing to train" if artefact.status == "no training" else f"Not run, {artefact.status}"


def claims_table(verdicts: list[Verdict], conditions: Conditions | None) -> Table:
    columns = ["claim", "verdict", "numbers", "margin", "section"]
    rows: list[list[str] | str] = [
        [str(v.claim["text"]), v.word, v.numbers, v.margin, str(v.claim["section"])] for v in verdicts
    ]
    notes = ["An ordering closer than its margin is undecided."]
    return Table(
        "claims",
        "Sentences of Sec. 4.2 that can be checked",
        columns,
        rows,
        frozenset({1}),
        notes,
        None,
        str(conditions or ""),
    )


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
        "seen": seen,
        "caveat": ""
        if seen is None or (results.profile == "paper" and seen.as_paper)
        else headline.caveat(seen, results.profile),
        "groups": [(word, members) for word, members in groups if members],
        "claims": claims_table(verdicts, seen),
        "summary": summary,
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
