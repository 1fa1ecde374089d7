"""One saved view of the W&B workspace for an artefact: its runs alone, grouped by net, in the paper's colours."""

from typing import Any

import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from reproduce.config.run import digest
from reproduce.tracking.dashboard import panels
from reproduce.tracking.dashboard.send import Project
from reproduce.tracking.dashboard.source import Source
from reproduce.tracking.names import AXIS, RUN


def key_of(artefact: dict[str, Any], source: Source) -> str:
    """The view's own name at W&B, its ?nw=: always the same for an artefact and a profile."""
    return digest([source.profile, artefact["name"]])[:11]


def view_of(artefact: dict[str, Any], source: Source, project: Project) -> ws.Workspace:
    view = ws.Workspace(
        entity=project.entity,
        project=project.name,
        name=f"{artefact['target']} · {source.profile.replace('+', '-')}",  # W&B allows no + in it
        sections=_sections(artefact, source),
        settings=ws.WorkspaceSettings(x_axis=AXIS, max_runs=panels.MANY),
        runset_settings=ws.RunsetSettings(
            filters=panels.selection(artefact["runs"], source),
            groupby=[expr.Config(RUN)],
            group_colors=dict(source.colours(artefact).items()),
            order=list(panels.ORDER),
            pinned_columns=list(panels.COLUMNS),
        ),
    )
    view._internal_name = f"nw-{key_of(artefact, source)}-v"  # save() would draw one by lot
    return view


def _sections(artefact: dict[str, Any], source: Source) -> list[ws.Section]:
    """Bars of a table, curves of a figure panel by panel, layer responses, the learning rate."""
    found = []
    if artefact["bars"]:  # the last group: a view has one set of runs, and its bars show them all
        found.append(_section("Errors", panels.bars(artefact["bars"][-1])))
    if artefact.get("responses"):
        found.append(_section("Layer responses", panels.responses(artefact["responses"], source)))
    for panel in artefact["panels"] or [panels.whole_curves(artefact)]:
        found.append(
            _section(f"Curves: {panel['title']}", [*panels.curves(panel, source), panels.seeds(panel, source)])
        )
    found.append(_section("Learning rate", [panels.learning_rate()], is_open=False))
    return found


def _section(name: str, content: list[Any], is_open: bool = True) -> ws.Section:
    settings = ws.SectionPanelSettings(x_axis=AXIS)
    layout = ws.SectionLayoutSettings(columns=2, rows=2)
    return ws.Section(name=name, panels=content, is_open=is_open, layout_settings=layout, panel_settings=settings)
