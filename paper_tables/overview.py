"""What README.md shows first: Figure 6, and a row for each table and figure with state, conditions and command."""

from __future__ import annotations

import re
import textwrap
from collections import Counter

from paper_tables.claims import judge_claims
from paper_tables.commands import overrides, state_of
from paper_tables.headline import NAMES, caveat, conditions_of_all
from paper_tables.measure import Conditions, Judgement, conditions_of, judge, ours_text
from paper_tables.registry import Artefact, Registry
from paper_tables.results import Results
from paper_tables.table import Table
from paper_tables.tested import how_tested_in

PICTURE = "fig6"
OUTCOMES = {"holds": "hold", "fails": "fail", "undecided": "are undecided", "not run": "were not run"}
STATES = {"no training": "computed, no training"}


def overview(results: Results, registry: Registry) -> str:
    """The block as Markdown. Its links lead to the report of the profile, as the root of the repository sees it."""
    columns = ["", "what it is", "state", "conditions", "for example (error in %)", "command"]
    rows: list[list[str] | str] = [_row(artefact, results, registry) for artefact in registry.artefacts.values()]
    report = f"[The report](report/{results.profile}/REPORT.md) has every number, curve and claim."
    parts = [
        _wrapped(f"{_measured_so_far(results, registry)} {_claims(results, registry)} {report}"),
        _picture(registry.artefacts[PICTURE], results),
        Table("overview", "", columns, rows).markdown().strip(),
        _options(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _measured_so_far(results: Results, registry: Registry) -> str:
    seen = conditions_of_all(results, registry)
    if not seen:
        return f"Nothing has been run yet in profile `{results.profile}`."
    named = [(NAMES[recipe], str(conditions)) for recipe, conditions in seen.items()]
    texts = [text if text.startswith(name) else f"{name}, {text}" for name, text in named]
    return (
        f"Measured so far: {'; '.join(texts)} (profile `{results.profile}`). {caveat(seen, results.profile)}".rstrip()
    )


def _picture(artefact: Artefact, results: Results) -> str:
    picture = f"![{artefact.title}, ours](report/{results.profile}/figures/{artefact.name}.svg)"
    return f"{picture}\n\n*{artefact.title}, ours. Hollow marks: where the paper's curves end, read off its figure.*"


def _page(artefact: Artefact, results: Results) -> str:
    return f"report/{results.profile}/REPORT.md#{artefact.title.lower().replace(' ', '-')}"


def _row(artefact: Artefact, results: Results, registry: Registry) -> list[str]:
    seeds = [seed for run in artefact.runs() for seed in results.seeds.get(run, [])]
    tested = how_tested_in(artefact, results, registry)
    judged = [judge(cell, results, registry) for cell in artefact.cells() if cell.run in artefact.runs()]
    return [
        f"[{artefact.title}]({_page(artefact, results)})",
        _first_sentence(artefact.caption),
        STATES.get(state := state_of(artefact, results), state) + _compared(judged),
        _brief(conditions_of(seeds, registry, tested)) if seeds else "",
        _example(judged, results),
        f"`make {artefact.target}`",
    ]


def _first_sentence(caption: str) -> str:
    """Without what stands in brackets."""
    return re.sub(r" \([^)]*\)", "", re.split(r"\.(?: |$)", caption)[0])


def _compared(judged: list[Judgement]) -> str:
    """How many of the numbers that are compared with the paper's lie within tolerance; nothing where none is."""
    decided = [found for found in judged if found.decided]
    good = sum(found.verdict in ("within", "holds") for found in decided)
    return f"; {good} of {len(decided)} numbers within tolerance" if decided else ""


def _example(judged: list[Judgement], results: Results) -> str:
    """The last number of the table or figure that was measured, beside the paper's."""
    for found in reversed(judged):
        if found.measured is not None:
            error, read = found.cell.metric.replace("_error", ""), f" ± {found.cell.pm:g}" if found.cell.pm else ""
            return f"{found.cell.label}, {error}: {ours_text(found, results)} (paper: {found.cell.printed}{read})"
    return ""


def _brief(conditions: Conditions) -> str:
    if conditions.as_paper:
        return "the paper's"
    lengths = dict.fromkeys(f"{100 * done / full:.3g} % of the length" for done, full in conditions.budgets)
    data = "official data" if conditions.official else "other data"
    return ", ".join([data, " and ".join(lengths), " and ".join(conditions.precisions)])


def _options(results: Results) -> str:
    """What to add to a command for the conditions of this profile; nothing for the paper's."""
    profile, changed = results.profile.partition("+")[0], overrides(results)
    commands = [seed.provenance.get("command", "") for seed in results.all_seeds]
    words = [f"PROFILE={profile}"] if profile != "paper" else []
    words += ["DATA=/path/to/images"] if any("data.root=" in command for command in commands) else []
    words += [f'SET="{changed}"'] if changed else []
    return f"The same conditions: `make TARGET {' '.join(words)}`." if words else ""


def _claims(results: Results, registry: Registry) -> str:
    verdicts = judge_claims(results, registry)
    counts = Counter(verdict.outcome for verdict in verdicts)
    listed = ", ".join(f"{counts[outcome]} {words}" for outcome, words in OUTCOMES.items() if counts[outcome])
    note = " (some on a single run)" if any("one run" in verdict.word for verdict in verdicts) else ""
    return f"Of the paper's {len(verdicts)} claims about classification that can be checked, {listed}{note}."
