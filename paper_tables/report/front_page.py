"""What a reader sees first: summaries of some tables and figures, the claims and their counts, the list of runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from paper_tables.paper import Artefact, Cell, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.published import publishers
from paper_tables.results.reader import RunResult
from paper_tables.tables.measured import verdict_text
from paper_tables.tables.readings import reading_table
from paper_tables.tables.table import NOT_RUN, Table
from paper_tables.verdicts.cells import Conditions, Judgement, conditions_for, judge, ours_text
from paper_tables.verdicts.claims import BAD, GOOD, OPEN, Verdict, judge_claims, on_published_weights, rule_words
from paper_tables.verdicts.tested import FP32

MARKERS = "<!-- headline:begin -->", "<!-- headline:end -->"
TONES = {"good": GOOD, "bad": BAD, "open": OPEN}
WORDS = (*GOOD, *BAD, *OPEN, NOT_RUN)


@dataclass(frozen=True)
class Part:
    """An entry of `front_page` in the paper's file: a summary of some tables, a figure and perhaps its numbers."""

    title: str
    summary: Table
    figure: Artefact
    readings: Table | None
    first: Table  # the few nets that say it all
    change: str  # what depth does to them, in a sentence
    conditions: str  # of our numbers; empty where none was measured


def headline(evidence: Evidence) -> str:
    """The front page as Markdown: conditions, summaries, the figures' numbers, the claims in one line."""
    parts, verdicts = front_page(evidence), judge_claims(evidence)
    texts = [conditions_line(evidence)]
    for part in parts:
        texts += [f"{part.first.caption}.", part.first.markdown(), part.change]
    texts += [f"{part.title}:\n\n{part.summary.markdown()}" for part in parts]
    for part in parts:
        if part.readings:
            texts += [f"{part.figure.title}, end of training (the paper's values are read off the figure):"]
            texts += [part.readings.markdown()]
    texts.append(f"{evidence.paper.claims_title}: {counts_line(verdicts)}.")
    return "\n\n".join(text.strip() for text in texts) + "\n"


def front_page(evidence: Evidence) -> list[Part]:
    """The parts that are shown: one marked `when_run` only where a run of it is finished."""
    parts = []
    for entry in evidence.paper.front_page:
        tables = [evidence.paper.artefacts[name] for name in entry["tables"]]
        cells = {c.run: c for artefact in tables for c in artefact.cells() if c.metric == entry["metric"]}
        if entry.get("when_run") and not any(evidence.trainings(run) for run in cells):
            continue
        title, figure = joined([artefact.title for artefact in tables]), evidence.paper.artefacts[entry["figure"]]
        columns = [entry["net"], *(f"{entry['error']} · {who}" for who in ("paper", "ours")), "difference", "verdict"]
        rows: list[list[str] | str] = [_summary_row(cell, evidence) for cell in cells.values()]
        links = {(i, 2): run for i, run in enumerate(cells) if evidence.trainings(run)}
        summary = Table(tables[-1].name, f"{title}, {entry['error']}", columns, rows, frozenset({2}), links=links)
        readings = reading_table(figure, evidence) if entry.get("readings") else None
        judged = [judge(cells[run], evidence) for run in entry["first"]["runs"]]
        first = first_table(entry["first"]["title"], judged, columns[:3], evidence)
        seen = conditions_of_all(evidence).get(evidence.paper.recipe(judged[0].cell.run).name, "")
        parts.append(Part(title, summary, figure, readings, first, change_words(judged, evidence), str(seen)))
    return parts


def first_table(title: str, judged: list[Judgement], columns: list[str], evidence: Evidence) -> Table:
    """Some nets: the paper's error, that of each publisher's weights, and ours."""
    there = {who: nets for who, nets in on_publishers(judged, evidence).items() if any(j.measured for j in nets)}
    heads = [*columns[:2], *(columns[1].replace("· paper", f"· {who}") for who in there), columns[2]]
    rows: list[list[str] | str] = []
    for i, j in enumerate(judged):
        published = [f"{m.mean:.2f}" if (m := nets[i].measured) else "" for nets in there.values()]
        rows.append([j.cell.label, j.cell.printed, *published, ours_text(j, evidence)])
    ours = len(heads) - 1
    links = {(i, ours): j.cell.run for i, j in enumerate(judged) if j.measured}
    return Table("first", title, heads, rows, frozenset({ours}), links=links)


def on_publishers(judged: list[Judgement], evidence: Evidence) -> dict[str, list[Judgement]]:
    """The same cells with each publisher's nets in the place of ours."""
    return {who: [judge(j.cell, found) for j in judged] for who, found in publishers(evidence).items()}


def change_words(judged: list[Judgement], evidence: Evidence) -> str:
    """What the deeper net of each pair gains or loses (points): in the paper, with published weights, and here."""
    steps = [", ".join(_step(a, b, b.cell.paper - a.cell.paper) for a, b in _pairs(judged)) + " (paper)"]
    for who, nets in [*on_publishers(judged, evidence).items(), ("here", judged)]:
        words = [_step(a, b, b.measured.mean - a.measured.mean) for a, b in _pairs(nets) if a.measured and b.measured]
        steps += [f"{', '.join(words)} ({who})"] if words else []
    return f"From the shallower to the deeper net, in points: {'; '.join(steps)}."


def _pairs(judged: list[Judgement]) -> list[tuple[Judgement, Judgement]]:
    return list(zip(judged[::2], judged[1::2], strict=True))


def _step(shallow: Judgement, deep: Judgement, gap: float) -> str:
    return f"{shallow.cell.label} to {deep.cell.label.rpartition('-')[2]} {gap:+.2f}"


def joined(titles: list[str]) -> str:
    """Table 6; Tables 2 and 3."""
    numbers = [title.partition(" ")[2] for title in titles]
    return f"Tables {', '.join(numbers[:-1])} and {numbers[-1]}" if len(titles) > 1 else titles[0]


def _summary_row(cell: Cell, evidence: Evidence) -> list[str]:
    """A net in the columns of a summary; under other conditions than the paper's there is no difference."""
    judgement = judge(cell, evidence)
    verdict = "" if judgement.measured is None else verdict_text(judgement)
    return [cell.label, cell.printed, ours_text(judgement, evidence), judgement.difference_text, verdict]


def conditions_of_all(evidence: Evidence) -> dict[str, Conditions]:
    """Everything met in the paper's runs, by the name of the data set; empty where none was run."""
    found: dict[str, list[RunResult]] = {}
    for run in evidence.paper.runs:
        found.setdefault(evidence.paper.recipe(run).name, []).extend(evidence.trainings(run))
    return {name: conditions_for(each, evidence.paper, "test_error") for name, each in found.items() if each}


def seen_text(seen: dict[str, Conditions]) -> str:
    """The conditions in words; with their recipes where there are several."""
    texts = [f"{name}: {conditions}" for name, conditions in seen.items()]
    return "; ".join(texts) if len(seen) > 1 else "".join(str(conditions) for conditions in seen.values())


def conditions_line(evidence: Evidence) -> str:
    """Profile, data, budget and precision in one sentence, and whether they are the paper's."""
    seen = conditions_of_all(evidence)
    if not seen:
        return f"Profile `{evidence.results.profile}`: nothing has been run yet."
    return f"Profile `{evidence.results.profile}`: {seen_text(seen)}. {caveat(seen, evidence.results.profile)}".rstrip()


def caveat(seen: dict[str, Conditions], profile: str) -> str:
    """Why these numbers are not the paper's experiment, in a sentence; empty where they are or nothing was run."""
    if not seen or (profile == "paper" and all(conditions.as_paper for conditions in seen.values())):
        return ""
    every = list(seen.values())
    others = [name for name, conditions in seen.items() if not conditions.official]
    reasons = [f"the data is not the official {' and '.join(others)}"] if others else []
    reasons += (
        ["the budget is not the paper's"] if any(a != b for c in every for a, b in (*c.budgets, *c.batches)) else []
    )
    unlike = {condition for c in every for condition, _ in c.testing.unlike}
    computed = {p for c in every for p in c.precisions} <= set(FP32)
    reasons += [] if computed and "precision" not in unlike else ["the precision is not fp32"]
    reasons += ["the tests are not by the paper's protocol"] if unlike - {"precision"} else []
    reasons += ["runs of different data are mixed"] if any(len(c.fingerprints) > 1 for c in every) else []
    reasons = reasons or [f"profile {profile} is not the paper's"]
    return f"Not the paper's conditions: {', '.join(reasons)}; no number here is compared with the paper's."


def counts_line(verdicts: list[Verdict]) -> str:
    counts = Counter(verdict.word for verdict in verdicts)
    return ", ".join(f"{word} {counts[word]}" for word in WORDS if counts[word])


def claim_groups(verdicts: list[Verdict], paper: Paper) -> list[tuple[str, list[Verdict]]]:
    """Every claim under its section."""
    groups = paper.claim_groups.items()
    return [(title, [v for v in verdicts if str(v.claim["section"]).startswith(section)]) for section, title in groups]


def claims_table(verdicts: list[Verdict], conditions: str, evidence: Evidence) -> Table:
    """The claims as a table; `conditions`: what the measured ones rest on."""
    columns = ["claim", "verdict", "numbers", "margin", "section"]
    rows: list[list[str] | str] = []
    for title, those in claim_groups(verdicts, evidence.paper):
        rows += [title, *([str(v.claim["text"]), v.word, v.numbers, v.margin, str(v.claim["section"])] for v in those)]
    caption, rule = f"{evidence.paper.claims_title}: sentences that can be checked", rule_words(evidence.paper)
    table = Table("claims", caption, columns, rows, frozenset({1}), [rule], conditions=conditions)
    if not publishers(evidence):
        return table
    judged = [v for _, those in claim_groups(verdicts, evidence.paper) for v in those]
    return table.with_columns(["with published weights"], [[claim_words(v, evidence)] for v in judged], at=2)


def published_verdicts(evidence: Evidence) -> list[Verdict]:
    """Every claim on the nets of every publisher who has those that it needs."""
    return [v for claim in evidence.paper.claims for v in on_published_weights(claim, evidence).values()]


def claim_words(verdict: Verdict, evidence: Evidence) -> str:
    """The claim on each publisher's nets: word and numbers."""
    found = on_published_weights(verdict.claim, evidence)
    return "; ".join(f"{publisher}: {v.word} ({v.numbers})" for publisher, v in found.items())


def tone(word: str) -> str:
    """good | bad | open, or nothing: how a verdict is coloured (its word always stands there too)."""
    return next((name for name, members in TONES.items() if word in members), "")


def lead(states: list[str], verdicts: list[Verdict], evidence: Evidence) -> str:
    """What reproduces, what does not and what was not run, in some sentences; `states` of the tables and figures."""
    counts = Counter("measured in part" if "runs" in state else state for state in states)
    order = ("measured", "measured in part", "refused", "not run", "no training", "out of scope", "later")
    parts = [f"{counts[state]} {state}" for state in order if counts[state]]
    counted = f"{evidence.paper.claims_title}: {counts_line(verdicts)}."
    if published := published_verdicts(evidence):
        counted += f" On one publisher's nets at a time: {counts_line(published)}."
    return f"{counted} The {len(states)} tables and figures: {', '.join(parts)}."
