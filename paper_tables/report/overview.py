"""What README.md shows first: a figure, and a row for each table and figure with state, conditions and command."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace

from paper_tables.paper import Artefact
from paper_tables.report.commands import state_of, variables
from paper_tables.report.front_page import caveat, conditions_of_all, counts_line, front_page, published_verdicts
from paper_tables.results.evidence import Evidence
from paper_tables.results.published import data_words, publishers
from paper_tables.tables.table import Table
from paper_tables.verdicts.cells import Conditions, Judgement, conditions_of, judge, ours_text
from paper_tables.verdicts.claims import judge_claims
from paper_tables.verdicts.tested import how_tested_in

STATES = {"no training": "computed, no training"}


def overview(evidence: Evidence) -> str:
    """The block as Markdown. Its links lead to the report of the profile, as the root of the repository sees it."""
    columns = ["", "what it is", "state", "conditions", "for example, in %", "command"]
    rows: list[list[str] | str] = [_row(artefact, evidence) for artefact in evidence.paper.artefacts.values()]
    report = f"[The report](report/{evidence.results.profile}/REPORT.md) has every number, curve and claim."
    head = "**Trained here.** " if publishers(evidence) else ""
    parts = [
        *_published(evidence),
        _wrapped(f"{head}{_measured_so_far(evidence)} {_claims(evidence)} {report}"),
        *(_picture(artefact, evidence) for artefact in evidence.paper.artefacts.values() if "picture" in artefact.spec),
        Table("overview", "", columns, rows).markdown().strip(),
        _options(evidence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _measured_so_far(evidence: Evidence) -> str:
    seen, profile = conditions_of_all(evidence), evidence.results.profile
    if not seen:
        return f"Nothing has been run yet in profile `{profile}`."
    texts = [text if (text := str(found)).startswith(name) else f"{name}, {text}" for name, found in seen.items()]
    return f"Measured so far: {'; '.join(texts)} (profile `{profile}`). {caveat(seen, profile)}".rstrip()


def _picture(artefact: Artefact, evidence: Evidence) -> str:
    picture = f"![{artefact.title}, ours](report/{evidence.results.profile}/figures/{artefact.name}.svg)"
    filled = " Filled, beside the axes: published weights." if publishers(evidence) else ""
    return f"{picture}\n\n*Ours. Hollow marks: where the paper's curves end, read off its figure.{filled}*"


def _page(artefact: Artefact, evidence: Evidence) -> str:
    return f"report/{evidence.results.profile}/REPORT.md#{artefact.title.lower().replace(' ', '-')}"


def _row(artefact: Artefact, evidence: Evidence) -> list[str]:
    seeds = [seed for run in artefact.runs() for seed in evidence.trainings(run)]
    tested = how_tested_in(artefact, evidence)
    judged = [judge(cell, evidence) for cell in artefact.cells() if cell.run in artefact.runs()]
    return [
        f"[{artefact.title}]({_page(artefact, evidence)})",
        _first_sentence(artefact.caption),
        STATES.get(state := state_of(artefact, evidence), state) + _compared(judged) + _others(artefact, evidence),
        _brief(conditions_of(seeds, evidence.paper, tested)) if seeds else "",
        _example(judged, evidence),
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


def _others(artefact: Artefact, evidence: Evidence) -> str:
    """How many published nets the table or figure shows."""
    runs = {cell.run for cell in artefact.cells()} or set(artefact.named_runs())
    shown = sum(len(runs & set(found.results.runs)) for found in publishers(evidence).values())
    return f"; {shown} published nets tested" if shown and artefact.status == "measured" else ""


def _example(judged: list[Judgement], evidence: Evidence) -> str:
    """The last number of the table or figure that was measured, beside the paper's."""
    for found in reversed(judged):
        if found.measured is not None:
            cell, metric = found.cell, evidence.paper.metrics[found.cell.metric]
            read = f", read off to {cell.pm:g}" if cell.pm else ""
            return f"{cell.label}, {metric.label}: {ours_text(found, evidence)} (paper: {cell.printed}{read})"
    return ""


def _brief(conditions: Conditions) -> str:
    if conditions.as_paper:
        return "the paper's"
    lengths = dict.fromkeys(f"{100 * done / full:.3g} % of the length" for done, full in conditions.budgets)
    data = "official data" if conditions.official else "other data"
    return ", ".join([data, " and ".join(lengths), " and ".join(conditions.precisions)])


def _options(evidence: Evidence) -> str:
    """What to add to a command for the conditions of this profile; nothing for the paper's."""
    profile = evidence.results.profile.partition("+")[0]
    words = (f" PROFILE={profile}" if profile != "paper" else "") + variables(evidence)
    return f"The same conditions: `make TARGET{words}`." if words else ""


def _claims(evidence: Evidence) -> str:
    verdicts = judge_claims(evidence)
    return f"The paper's {len(verdicts)} claims about classification that can be checked: {counts_line(verdicts)}."


def _published(evidence: Evidence) -> list[str]:
    """What others' weights show at the paper's length, tested here: the nets of the front page, and the claims."""
    first = front_page(evidence)[0]
    if len(first.first.columns) == 3:  # none of these nets is published
        return []
    verdicts = counts_line(published_verdicts(evidence))
    who = " and ".join(publishers(evidence))
    text = f"**At the paper's length:** weights that {who} published, tested here by the paper's protocol "
    text += f"({data_words(evidence)})."
    text += f" The paper's claims on one publisher's nets at a time: {verdicts}." if verdicts else ""
    seen = conditions_of_all(evidence).values()
    conditions = f" ({'; '.join(_brief(found) for found in seen)})" if seen else ""
    net, *heads = first.first.columns
    columns = [f"{net}, {heads[0].partition(' · ')[0]}", *(head.rpartition(" · ")[2] for head in heads)]
    table = replace(first.first, columns=[*columns[:-1], columns[-1] + conditions])
    return [f"{_wrapped(text)}\n\n{table.markdown()}\n{_wrapped(first.change)}"]
