"""Saves views and report at W&B, in place of those of the same name."""

import os
import re
from dataclasses import dataclass
from typing import Any

from wandb_workspaces._graphql import get_app_url
from wandb_workspaces.workspaces import internal

from reproduce.tracking import wandb_logger
from reproduce.tracking.names import need_key, project
from reproduce.utils.console import log
from reproduce.utils.environment import repository
from reproduce.utils.errors import UserError


@dataclass(frozen=True)
class Project:
    """A project of W&B; `repository`: the web page of this code, to which commits are linked."""

    entity: str
    name: str
    app: str = "https://wandb.ai"
    repository: str | None = None

    @property
    def url(self) -> str:
        return f"{self.app}/{self.entity}/{self.name}"


def offline_project() -> Project:
    """As far as it is known without asking the server."""
    return Project(os.environ.get("WANDB_ENTITY") or "entity", project(), repository=web_page(repository()))


@wandb_logger.errors_in_one_line()
def online_project() -> Project:
    """Errors: UserError without a key, a network, or an account."""
    need_key()
    api = wandb_logger.server()
    entity = wandb_logger.entity(api)
    if not entity:
        raise UserError("W&B: this key has no account of its own: name one, WANDB_ENTITY=...")
    return Project(entity, project(), str(get_app_url(api)).rstrip("/"), web_page(repository()))


def web_page(remote: str | None) -> str | None:
    """https://host/owner/name of a git remote, without what a user may have written before the host; else None."""
    match = re.fullmatch(r"(?:https?://(?:[^@/]*@)?|git@|ssh://git@)([\w.-]+)[:/]([\w./-]+?)(?:\.git)?/?", remote or "")
    return f"https://{match[1]}/{match[2]}" if match else None


@wandb_logger.errors_in_one_line()
def send(views: dict[str, Any], report: Any, project: Project) -> None:
    """Errors: UserError; what was saved before it stays, and is found again."""
    for target, view in views.items():
        key = str(view._internal_name).removeprefix("nw-").removesuffix("-v")
        view._internal_id = _view_id(key, project)
        view.save()
        log(f"{target}: {project.url}?nw={key}")
    reports = wandb_logger.server().reports(f"{project.entity}/{project.name}")
    # By title: its own name is another one at each saving.
    report.id = next((str(item.id) for item in reports if item.display_name == report.title), "")
    report.save()
    log(f"report: {report.url}")


def _view_id(key: str, project: Project) -> str:
    """The id of a saved view, empty where there is none. Errors: UserError where there is no such project."""
    try:
        return str(internal.get_view_dict(project.entity, project.name, key)["id"])
    except ValueError as error:
        if "Project" in str(error):
            start = "start a training with WANDB=online or `make wandb-publish` first"
            raise UserError(f"W&B: no project {project.entity}/{project.name} for this key: {start}") from None
        return ""
