"""The W&B report of a whole reproduction: each table and figure, the paper's values, ours, and where they come from."""

from collections.abc import Iterable
from typing import Any

import wandb_workspaces.reports.v2 as wr

from reproduce.tracking.dashboard import panels
from reproduce.tracking.dashboard.send import Place
from reproduce.tracking.dashboard.source import Seed, Source
from reproduce.tracking.dashboard.views import key_of
from reproduce.tracking.names import RUN

TITLE = "Deep Residual Learning, reproduced"


def title_of(source: Source) -> str:
    return f"{TITLE}: {source.profile}"


def report_of(source: Source, place: Place) -> wr.Report:
    blocks: list[Any] = [wr.MarkdownBlock(_front(source)), wr.TableOfContents()]
    for artefact in source.artefacts:
        blocks += _blocks(artefact, source, place)
    return wr.Report(
        entity=place.entity,
        project=place.project,
        title=title_of(source),
        description="Every trained table and figure of arXiv:1512.03385, the paper's values beside ours.",
        width="fluid",
        blocks=blocks,
    )


def _front(source: Source) -> str:
    return f"{source.conditions}\n\nClaims of Sec. 4.1 and 4.2: {source.claims}."


def _blocks(artefact: dict[str, Any], source: Source, place: Place) -> list[Any]:
    heading = f"{artefact['title']} ({artefact['state']})" if "state" in artefact else artefact["title"]
    blocks: list[Any] = [wr.H2(heading), wr.P(artefact["caption"])]
    for group in artefact["bars"]:
        blocks.append(_grid(panels.bars(group), group["colours"], source, grouped=True))
    colours = source.colours(artefact)
    for panel in artefact["panels"]:
        own = {run: colours[run] for run in panel["runs"]}
        blocks.append(_grid(panels.curves(panel, source), own, source, grouped=True))
        blocks.append(_grid([panels.seeds(panel, source)], own, source, grouped=False))
    if artefact.get("responses"):
        blocks.append(_grid(panels.responses(artefact["responses"], source), colours, source, grouped=False))
    if artefact["markdown"]:
        blocks.append(wr.MarkdownBlock(_table(artefact)))
    return [*blocks, wr.MarkdownBlock(_origin(artefact, source, place))]


def _grid(content: list[Any], colours: dict[str, str], source: Source, grouped: bool) -> wr.PanelGrid:
    """Panels over the runs of `colours`: by group, or each seed a line in the colour of its net."""
    runset = wr.Runset(
        name="seeds grouped" if grouped else "each seed",
        filters=panels.selection(colours, source),
        groupby=[f"config.{RUN}"] if grouped else [],
        order=[wr.OrderBy(wr.Config(RUN), ascending=True)],
        run_settings={} if grouped else {s.id: wr.RunSettings(color=colours[s.run]) for s in source.of(colours)},
        pinned_columns=["run:displayName", *panels.COLUMNS],
    )
    tints: Any = {_group(runset.name, run): colour for run, colour in colours.items()} if grouped else {}
    return wr.PanelGrid(runsets=[runset], panels=content, custom_run_colors=tints)


def _group(runset: str, run: str) -> wr.RunsetGroup:
    return wr.RunsetGroup(runset, (wr.RunsetGroupKey(wr.Config(RUN), run),))


def _table(artefact: dict[str, Any]) -> str:
    notes = " ".join((artefact.get("table") or {}).get("notes", []))
    return f"{artefact['markdown']}\n{notes}".strip()


# ---- Where it comes from ----


def _origin(artefact: dict[str, Any], source: Source, place: Place) -> str:
    """The view, the command, and a row for every training: its run at W&B, command and commit."""
    view = f"{place.url}?nw={key_of(artefact, source)}"
    lines = [f"[The runs of this artefact]({view}), made by `{artefact['command']}`.", ""]
    lines += ["| run | seed | commit | command |", "| --- | --- | --- | --- |"]
    lines += [_row(seed, place) for seed in source.of(artefact["runs"])]
    return "\n".join(lines)


def _row(seed: Seed, place: Place) -> str:
    cells: Iterable[str] = (
        f"[{seed.run}]({place.url}/runs/{seed.id})",
        str(seed.seed),
        _commit(seed, place) if seed.done else "not run",
        f"`{seed.command}`",
    )
    return f"| {' | '.join(cells)} |"


def _commit(seed: Seed, place: Place) -> str:
    if not seed.commit:
        return "unknown"
    words = f"`{seed.commit[:10]}`"
    linked = f"[{words}]({place.repository}/commit/{seed.commit})" if place.repository else words
    return linked + (" + changes" if seed.dirty else "")
