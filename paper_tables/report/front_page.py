"""What a reader sees first: summaries of some tables and figures, the claims and their counts, the list of runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from paper_tables.paper import Artefact, Cell, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import Results
from paper_tables.tables.measured import verdict_text
from paper_tables.tables.readings import reading_table
from paper_tables.tables.table import NOT_RUN, Table
from paper_tables.verdicts.cells import Conditions, Judgement, conditions_for, judge, ours_text
from paper_tables.verdicts.claims import BAD, GOOD, OPEN, Verdict, judge_claims, rule_words
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
        parts.append(Part(title, summary, figure, readings, first, change_words(judged), str(seen)))
    return parts


def first_table(title: str, judged: list[Judgement], columns: list[str], evidence: Evidence) -> Table:
    """Some nets, the paper's error and ours; under them the nets of published weights."""
    rows: list[list[str] | str] = [[j.cell.label, j.cell.printed, ours_text(j, evidence)] for j in judged]
    links = {(i, 2): j.cell.run for i, j in enumerate(judged) if j.measured}
    return Table("first", title, columns, [*rows, *published_rows(evidence.results)], frozenset({2}), links=links)


def published_rows(results: Results) -> list[list[str]]:
    """Rows of published weights for the first table: net, the paper's error, the error measured here. None so far."""
    return []


def change_words(judged: list[Judgement]) -> str:
    """What the deeper net of each pair gains or loses, in the paper and here (points)."""
    pairs = list(zip(judged[::2], judged[1::2], strict=True))
    words = [", ".join(_step(a.cell.label, b.cell.label, b.cell.paper - a.cell.paper) for a, b in pairs) + " (paper)"]
    here = [(a, b, b.measured.mean - a.measured.mean) for a, b in pairs if a.measured and b.measured]
    words += [", ".join(_step(a.cell.label, b.cell.label, gap) for a, b, gap in here) + " (here)"] if here else []
    return f"Error from the shallower to the deeper net, in points: {'; '.join(words)}."


def _step(shallow: str, deep: str, gap: float) -> str:
    return f"{shallow} to {deep.rpartition('-')[2]} {gap:+.2f}"


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
    paper = evidence.paper
    trainings = [training for training in evidence.results.all_runs if training.run in paper.runs]
    recipes = {
        recipe.name: [s for s in trainings if paper.recipe(s.run) is recipe] for recipe in paper.recipes.values()
    }
    return {name: conditions_for(found, paper, "test_error") for name, found in recipes.items() if found}


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
    reasons += ["runs of different data stand side by side"] if any(len(c.fingerprints) > 1 for c in every) else []
    reasons = reasons or [f"profile {profile} is not the paper's"]
    return f"Not the paper's conditions: {', '.join(reasons)}; no number here is compared with the paper's."


def counts_line(verdicts: list[Verdict]) -> str:
    counts = Counter(verdict.word for verdict in verdicts)
    return ", ".join(f"{word} {counts[word]}" for word in WORDS if counts[word])


def claim_groups(verdicts: list[Verdict], paper: Paper) -> list[tuple[str, list[Verdict]]]:
    """Every claim under its section."""
    groups = paper.claim_groups.items()
    return [(title, [v for v in verdicts if str(v.claim["section"]).startswith(section)]) for section, title in groups]


def claims_table(verdicts: list[Verdict], conditions: str, paper: Paper) -> Table:
    """The claims as a table; `conditions`: what the measured ones rest on."""
    columns = ["claim", "verdict", "numbers", "margin", "section"]
    rows: list[list[str] | str] = []
    for title, those in claim_groups(verdicts, paper):
        rows += [title, *([str(v.claim["text"]), v.word, v.numbers, v.margin, str(v.claim["section"])] for v in those)]
    caption = f"{paper.claims_title}: sentences that can be checked"
    return Table("claims", caption, columns, rows, frozenset({1}), [rule_words(paper)], conditions=conditions)


def tone(word: str) -> str:
    """good | bad | open, or nothing: how a verdict is coloured (its word always stands there too)."""
    return next((name for name, members in TONES.items() if word in members), "")


def lead(states: list[str], verdicts: list[Verdict], paper: Paper) -> str:
    """What reproduces, what does not and what was not run, in two sentences; `states` of the tables and figures."""
    counts = Counter("measured in part" if "runs" in state else state for state in states)
    order = ("measured", "measured in part", "refused", "not run", "no training", "out of scope", "later")
    parts = [f"{counts[state]} {state}" for state in order if counts[state]]
    counted = f"{paper.claims_title}: {counts_line(verdicts)}."
    return f"{counted} The {len(states)} tables and figures: {', '.join(parts)}."
