"""The W&B report of a whole reproduction: each table and figure, the paper's values, ours, and where they come from."""

from typing import Any

import wandb_workspaces.reports.v2 as wr

from reproduce.tracking.dashboard import panels
from reproduce.tracking.dashboard.send import Project
from reproduce.tracking.dashboard.source import Seed, Source
from reproduce.tracking.dashboard.views import key_of
from reproduce.tracking.names import RUN

TITLE = "Deep Residual Learning, reproduced"


def report_of(source: Source, project: Project) -> wr.Report:
    front = f"{source.conditions}\n\nClaims of Sec. 4.1 and 4.2: {source.claims}."
    blocks: list[Any] = [wr.MarkdownBlock(front), wr.TableOfContents()]
    for artefact in source.artefacts:
        blocks += _blocks(artefact, source, project)
    return wr.Report(
        entity=project.entity,
        project=project.name,
        title=f"{TITLE}: {source.profile}",
        description="Every trained table and figure of arXiv:1512.03385, the paper's values beside ours.",
        width="fluid",
        blocks=blocks,
    )


def _blocks(artefact: dict[str, Any], source: Source, project: Project) -> list[Any]:
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
        notes = " ".join((artefact.get("table") or {}).get("notes", []))
        blocks.append(wr.MarkdownBlock(f"{artefact['markdown']}\n{notes}".strip()))
    return [*blocks, wr.MarkdownBlock(_origin(artefact, source, project))]


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
    groups = {run: wr.RunsetGroup(runset.name, (wr.RunsetGroupKey(wr.Config(RUN), run),)) for run in colours}
    tints: Any = {groups[run]: colour for run, colour in colours.items()} if grouped else {}
    return wr.PanelGrid(runsets=[runset], panels=content, custom_run_colors=tints)


# ---- Where it comes from ----


def _origin(artefact: dict[str, Any], source: Source, project: Project) -> str:
    """The view, the command, and a row for every training: its run at W&B, command and commit."""
    view = f"{project.url}?nw={key_of(artefact, source)}"
    lines = [f"[The runs of this artefact]({view}), made by `{artefact['command']}`.", ""]
    lines += ["| run | seed | commit | command |", "| --- | --- | --- | --- |"]
    lines += [_row(seed, project) for seed in source.of(artefact["runs"])]
    return "\n".join(lines)


def _row(seed: Seed, project: Project) -> str:
    commit = _commit(seed, project) if seed.done else "not run"
    return f"| [{seed.run}]({project.url}/runs/{seed.id}) | {seed.seed} | {commit} | `{seed.command}` |"


def _commit(seed: Seed, project: Project) -> str:
    if not seed.commit:
        return "unknown"
    commit = f"`{seed.commit[:10]}`"
    linked = f"[{commit}]({project.repository}/commit/{seed.commit})" if project.repository else commit
    return linked + (" + changes" if seed.dirty else "")
