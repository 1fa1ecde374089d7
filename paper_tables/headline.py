"""What a reader sees first: Table 6 and the end points of Figure 1, ours beside the paper's; how many claims hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from paper_tables.claims import BAD, GOOD, OPEN, Verdict, judge_claims
from paper_tables.measure import Conditions, conditions_of, judge, ours_text
from paper_tables.readings import reading_table
from paper_tables.registry import Cell, Registry, UserError
from paper_tables.results import Results
from paper_tables.table import NOT_RUN, Table
from paper_tables.tables import verdict_text
from paper_tables.tested import FP32, how_tested

MARKERS = "<!-- headline:begin -->", "<!-- headline:end -->"
WORDS = (*GOOD, *BAD, *OPEN, NOT_RUN)
NAMES = {"cifar10": "CIFAR-10", "imagenet": "ImageNet"}


def headline(results: Results, registry: Registry) -> str:
    """The headline as Markdown: conditions, Table 6, Figure 1's end points, the claims in one line."""
    first = reading_table(registry.artefacts["fig1"], results, registry)
    verdicts = judge_claims(results, registry)
    parts = [conditions_line(results, registry), table6_summary(results, registry).markdown()]
    summary = imagenet_summary(results, registry)
    parts += [summary.markdown()] if summary else []
    parts += ["Figure 1, end of training (the paper's values are read off the figure):", first.markdown()]
    parts.append(f"Claims of Sec. 4.1 and 4.2: {counts_line(verdicts)}.")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def table6_summary(results: Results, registry: Registry) -> Table:
    """Table 6 in five columns, the rows that runs stand behind."""
    printed = (cell for _, cells in registry.artefacts["table6"].rows() for cell in cells if isinstance(cell, Cell))
    rows: list[list[str] | str] = [_summary_row(cell, results, registry) for cell in printed]
    columns = ["CIFAR-10", "test error (%) · paper", "ours", "difference", "verdict"]
    return Table("table6", "Table 6, error on the CIFAR-10 test set", columns, rows, frozenset({2}))


def imagenet_summary(results: Results, registry: Registry) -> Table | None:
    """Tables 2 and 3 in five columns (top-1, 10-crop); None where no ImageNet training is finished."""
    if not any(seed.run.startswith("imagenet-") for seed in results.all_seeds):
        return None
    cells = {
        c.run: c for name in ("table2", "table3") for c in registry.artefacts[name].cells() if c.metric == "top1_error"
    }
    rows: list[list[str] | str] = [_summary_row(cell, results, registry) for cell in cells.values()]
    columns = ["ImageNet", "top-1 error (%), 10-crop · paper", "ours", "difference", "verdict"]
    return Table("table3", "Tables 2 and 3, top-1 error on ImageNet validation", columns, rows, frozenset({2}))


def _summary_row(cell: Cell, results: Results, registry: Registry) -> list[str]:
    """A net in the columns of a summary; under other conditions than the paper's there is no difference."""
    judgement = judge(cell, results, registry)
    verdict = "" if judgement.measured is None else verdict_text(judgement)
    return [cell.label, cell.printed, ours_text(judgement, results), judgement.difference_text, verdict]


def conditions_of_all(results: Results, registry: Registry) -> dict[str, Conditions]:
    """Everything met in the profile, by recipe; empty where nothing was run."""
    recipes = {recipe: [s for s in results.all_seeds if s.run.startswith(f"{recipe}-")] for recipe in registry.lengths}
    return {
        recipe: conditions_of(seeds, registry, how_tested(seeds, registry, "test_error"))
        for recipe, seeds in recipes.items()
        if seeds
    }


def seen_text(seen: dict[str, Conditions]) -> str:
    """The conditions in words; with their recipes where there are several."""
    texts = [f"{NAMES[recipe]}: {conditions}" for recipe, conditions in seen.items()]
    return "; ".join(texts) if len(seen) > 1 else "".join(str(conditions) for conditions in seen.values())


def conditions_line(results: Results, registry: Registry) -> str:
    """Profile, data, budget and precision in one sentence, and whether they are the paper's."""
    seen = conditions_of_all(results, registry)
    if not seen:
        return f"Profile `{results.profile}`: nothing has been run yet."
    return f"Profile `{results.profile}`: {seen_text(seen)}. {caveat(seen, results.profile)}".rstrip()


def caveat(seen: dict[str, Conditions], profile: str) -> str:
    """Why these numbers are not the paper's experiment, in a sentence; empty where they are or nothing was run."""
    if not seen or (profile == "paper" and all(conditions.as_paper for conditions in seen.values())):
        return ""
    every = list(seen.values())
    others = [NAMES[recipe] for recipe, conditions in seen.items() if not conditions.official]
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
    return f"Not the paper's conditions: {', '.join(reasons)}; no number here is held against the paper's."


def counts_line(verdicts: list[Verdict]) -> str:
    counts = Counter(verdict.word for verdict in verdicts)
    return ", ".join(f"{word} {counts[word]}" for word in WORDS if counts[word])


def update_readme(path: Path, blocks: dict[tuple[str, str], str], check: bool) -> bool:
    """Puts each block between its two markers, where they are; returns whether all of it was there already.

    Raises UserError.
    """
    try:
        old = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({type(error).__name__})") from None
    wanted = {markers: block for markers, block in blocks.items() if all(marker in old for marker in markers)}
    if not wanted:
        pairs = " or ".join(f"{begin} and {end}" for begin, end in blocks)
        raise UserError(f"{path}: needs the lines {pairs} around what is generated")
    new = old
    for (begin, end), block in wanted.items():
        before, _, rest = new.partition(begin)
        new = f"{before}{begin}\n{block}{end}{rest.partition(end)[2]}"
    if new != old and not check:
        path.write_bytes(new.encode("utf-8"))
    return new == old
