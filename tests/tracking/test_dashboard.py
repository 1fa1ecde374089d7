"""W&B dashboards against golden specifications, and publishing read back from wandb's offline records. No network."""

import copy
import csv
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paper_tables.__main__ import main as paper_tables
from reproduce.__main__ import main
from reproduce.config.load import resolve
from reproduce.config.run import Run, digest
from reproduce.jobs.runner import train_all
from reproduce.tracking import names, wandb_logger
from tests.helpers import fake_results
from tests.helpers.wandb_records import history, records

wandb: Any = pytest.importorskip("wandb", reason="wandb is not installed")
pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
Make = Callable[..., Run]
Tree = dict[str, Any]

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NO_SERVER = "http://127.0.0.1:9"
SMALL = ["cifar10-plain-20", "cifar10-plain-56", "cifar10-resnet-20", "cifar10-resnet-56"]
TARGETS = ["fig1-cifar", "fig4-imagenet", "fig6-cifar", "fig7-cifar", *(f"table{i}" for i in range(2, 7))]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    """The specifications of all dashboards over made-up results in results/paper/, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("paper"))
        for name in ("WANDB_PROJECT", "WANDB_ENTITY"):
            patch.delenv(name, raising=False)
        patch.setattr("reproduce.tracking.dashboard.send.repository", lambda: "git@example.org:us/resnet.git")
        paper_like()
        return written()


def written(*words: str) -> dict[str, Tree]:
    """The specifications of all dashboards, by name; ids that the library draws by lot are numbered."""
    assert main(["dashboard", *words, "--out", "specs"]) == 0
    texts = {path.stem: path.read_text() for path in Path("specs").glob("*.json")}
    return {name: json.loads(without_lots(text)) for name, text in texts.items()}


def without_lots(text: str) -> str:
    """Panels and run sets have random ids; colours of groups name them again."""
    tree = json.loads(text)
    drawn = dict.fromkeys(drawn_ids(tree))
    for number, name in enumerate(drawn):
        text = text.replace(name, f"id-{number}")
    return text


def drawn_ids(node: Any, key: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        if key in ("runSets", "panels") and "id" in node:
            yield node["id"]
        if "__id__" in node:
            yield node["__id__"]
        for name, value in node.items():
            yield from drawn_ids(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from drawn_ids(value, key)


def paper_like() -> None:
    """Results of made-up numbers in results/paper/, and their artefacts.json."""
    fake_results.write_tree(Path("results"))
    assert paper_tables(["artefacts", "--profile", "paper"]) == 0


def grids(report: Tree) -> list[Tree]:
    return [block["metadata"] for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]


def panels_of(view: Tree) -> list[Tree]:
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel["config"] for section in sections for panel in section["panels"]]


# ---- Dashboards ----


def test_every_trained_artefact_has_a_view_and_there_is_one_report(paper: dict[str, Tree]) -> None:
    assert sorted(paper) == sorted([*TARGETS, "report"])


@pytest.mark.parametrize("name", ["fig1-cifar", "fig6-cifar", "fig7-cifar", "table3"])
def test_a_view_is_as_agreed(name: str, paper: dict[str, Tree]) -> None:
    compare(paper[name], GOLDEN / f"view-{name}.json")


def test_the_report_is_as_agreed(paper: dict[str, Tree]) -> None:
    """Its front, Figure 1 and Table 3 in full; the other artefacts are made by the same functions."""
    report = copy.deepcopy(paper["report"])
    blocks = report["spec"]["blocks"]
    starts = [i for i, block in enumerate(blocks) if block["type"] == "heading"] + [len(blocks)]
    parts = {words(blocks[i]): blocks[i:j] for i, j in zip(starts, starts[1:], strict=False)}
    kept = [*blocks[: starts[0]], *parts["Figure 1 (measured)"], *parts["Table 3 (not run)"]]
    report["spec"]["blocks"] = json.loads(re.sub(r"id-\d+", "id", json.dumps(kept)))
    compare(report, GOLDEN / "report.json")
    assert len(parts) == len(TARGETS)


def words(block: Tree) -> str:
    return "".join(child.get("text", "") for child in block["children"])


def compare(spec: Tree, golden: Path) -> None:
    """With a golden file; a file that is not there is written, and the test fails once."""
    text = json.dumps(spec, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
        pytest.fail(f"{golden} was not there: look at it, then run again")
    assert json.loads(text) == json.loads(golden.read_text()), f"delete {golden} if the change is meant"


def test_a_view_selects_by_run_and_profile_and_groups_the_seeds(paper: dict[str, Tree]) -> None:
    section = paper["fig1-cifar"]["spec"]["section"]
    (runset,) = section["runSets"]
    filters = [(f["key"], f["op"], f["value"]) for f in runset["filters"]["filters"]]
    assert filters == [
        ({"section": "config", "name": "run"}, "IN", ["cifar10-plain-20", "cifar10-plain-56"]),
        ({"section": "config", "name": "profile"}, "=", "paper"),
    ]
    assert runset["grouping"] == [{"section": "config", "name": "run.value"}]
    assert sorted(section["customRunColors"].values()) == ["#b8b000", "#e8000b"]


def test_errors_are_drawn_as_the_paper_draws_them(paper: dict[str, Tree]) -> None:
    (seeds,) = [p for p in panels_of(paper["fig6-cifar"]) if p.get("chartTitle") == "plain nets, each seed"]
    assert seeds["xAxis"] == "iteration"
    assert (seeds["yAxisMin"], seeds["yAxisMax"], seeds["xAxisMax"]) == (0, 20, 64000)
    marks = {key.partition(":")[2]: mark for key, mark in seeds["overrideMarks"].items()}
    assert marks == {"train/error": "dashed", "test/error": "solid"}
    bold = {key.partition(":")[2]: width for key, width in seeds["overrideLineWidths"].items()}
    assert bold["test/error"] > bold["train/error"]
    twins = {entry["color"] for key, entry in seeds["overrideColors"].items() if key.endswith("test/error")}
    assert twins == {"#b8b000", "#00b4c0", "#00802b", "#e8000b"}


def test_the_right_panel_of_figure_6_begins_where_the_papers_does(paper: dict[str, Tree]) -> None:
    last = [p for p in panels_of(paper["fig6-cifar"]) if "1202" in p.get("chartTitle", "")]
    assert {p["xAxisMin"] for p in last} == {35000}


def test_options_are_bars_of_the_10_crop_error(paper: dict[str, Tree]) -> None:
    bars = [p for p in panels_of(paper["table3"]) if "vertical" in p]
    assert [p["metrics"] for p in bars[:2]] == [["eval/10-crop/top1_error"], ["eval/10-crop/top5_error"]]
    assert all(p["groupBy"] == "run.value" and p["groupArea"] == "stddev" for p in bars)
    options = [grid for grid in grids(paper["report"]) if "Shortcut" in json.dumps(grid)]
    runs = options[0]["runSets"][0]["filters"]["filters"][0]["value"]
    assert runs == ["imagenet-plain-34", *(f"imagenet-resnet-34-{option}" for option in "ABC")]
    (six,) = [p for p in panels_of(paper["table6"]) if "vertical" in p]
    assert six["metrics"] == ["test/error"]  # what training logs: it moves while a net is trained


def test_the_report_names_run_command_commit_and_paper(paper: dict[str, Tree]) -> None:
    text = json.dumps(paper["report"], ensure_ascii=False)
    run_id = digest(["paper", "cifar10-resnet-110", 4, "0123456789abcdef"])[:16]
    assert f"https://wandb.ai/entity/deep-residual-learning/runs/{run_id}" in text
    assert f"https://example.org/us/resnet/commit/{'f' * 40}" in text
    assert "python -m reproduce train cifar10-resnet-110 --profile paper" in text
    assert "make fig6-cifar PROFILE=paper" in text
    assert "6.43 (6.61 ± 0.16)" in text


def test_runs_not_yet_finished_are_in_their_dashboards() -> None:
    """The ids that a panel colours are those under which training is going to log."""
    Path("none").mkdir()
    assert paper_tables(["artefacts", "--profile", "smoke", "--results", "none"]) == 0
    report = written("--profile", "smoke")["report"]
    marked = {key.partition(":")[0] for grid in grids(report) for key in marks_of(grid)}
    assert names.of_run(resolve("cifar10-plain-56", "smoke", [], 0)).id in marked


def marks_of(grid: Tree) -> list[str]:
    return [
        key for panel in grid["panelBankSectionConfig"]["panels"] for key in panel["config"].get("overrideMarks", {})
    ]


def test_what_the_panels_ask_for_is_what_training_logs(tiny: Make) -> None:
    """Every metric, axis and configuration key of the curves stands in the record of a real training."""
    run = tiny("cifar10-plain-20", overrides=["execution.wandb=offline"])
    assert train_all([run]) == 0
    found = records(Path("runs") / run.folder)
    (start,) = [record.run for record in found if record.HasField("run")][:1]
    config = {item.key: json.loads(item.value_json) for item in start.config.update}
    assert (config["run"], config["profile"], config["seed"]) == (run.name, run.profile, 0)
    assert config["command"] == run.command()
    logged = {key for row in history(Path("runs") / run.folder) for key in row}
    assert paper_tables(["artefacts", "--profile", run.profile]) == 0
    overrides = [item for item in run.overrides if not item.startswith("execution.")]
    view = written("--profile", "smoke", *overrides, "--artefacts", f"report/{run.profile}/artefacts.json")[
        "fig1-cifar"
    ]
    asked = {name for panel in panels_of(view) for name in [panel["xAxis"], *panel["metrics"]]}
    assert asked == {"iteration", "train/error", "test/error", "lr"}
    assert asked <= logged
    marked = {key.partition(":")[0] for panel in panels_of(view) for key in panel.get("overrideMarks", {})}
    assert start.run_id in marked


# ---- Saving ----


class Server:
    """Stands in for W&B: keeps what is saved, by id, and answers as the library's own functions do."""

    def __init__(self) -> None:
        self.views: dict[str, Tree] = {}
        self.reports: dict[str, Tree] = {}
        self.projects = True

    def execute(self, api: Any, query: str, variables: Tree) -> Tree:
        if "allViews" in query:
            hits = [v for v in self.views.values() if v["name"] == variables["viewName"]]
            return {"project": {"allViews": {"edges": [{"node": v} for v in hits]}} if self.projects else None}
        assert "upsertView" in query
        kept = self.views if variables["type"] == "project-view" else self.reports
        number = variables.get("id") or f"{variables['type']}-{len(kept)}"
        kept[number] = {"id": number, "name": variables["name"], "displayName": variables["displayName"]}
        kept[number] |= {"spec": variables["spec"]}
        project = {"name": "p", "entityName": "e"}
        return {"upsertView": {"view": kept[number] | {"description": "", "project": project}, "inserted": True}}

    def api(self) -> Any:
        made = [SimpleNamespace(id=r["id"], display_name=r["displayName"]) for r in self.reports.values()]
        project = SimpleNamespace(name="deep-residual-learning")
        settings = {"entity": "us", "base_url": "https://api.wandb.ai"}
        client = SimpleNamespace(app_url="https://wandb.ai/")
        return SimpleNamespace(settings=settings, client=client, reports=lambda *a: made, projects=lambda *a: [project])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_logger, "server", made.api)
    monkeypatch.setattr("wandb.Api", lambda *a, **k: made.api())
    for module in ("workspaces.internal", "reports.v2.interface"):
        monkeypatch.setattr(f"wandb_workspaces.{module}.execute_graphql", made.execute)
    return made


def test_a_second_dashboard_refreshes_the_first(server: Server) -> None:
    paper_like()
    assert main(["dashboard"]) == 0
    first = {key: view["name"] for key, view in server.views.items()}
    assert (len(server.views), len(server.reports)) == (len(TARGETS), 1)
    shutil.rmtree("results/paper/cifar10-plain-110")
    assert paper_tables(["artefacts", "--profile", "paper"]) == 0
    assert main(["dashboard"]) == 0
    assert {key: view["name"] for key, view in server.views.items()} == first
    (report,) = server.reports.values()
    assert "python -m reproduce train cifar10-plain-110" in report["spec"]


def test_profiles_have_views_of_their_own(server: Server) -> None:
    Path("results").mkdir()
    for profile in ("paper", "short"):
        assert paper_tables(["artefacts", "--profile", profile]) == 0
        assert main(["dashboard", "--profile", profile]) == 0
    assert (len(server.views), len(server.reports)) == (2 * len(TARGETS), 2)


def test_a_wrong_entity_is_one_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    paper_like()
    server.projects = False
    capsys.readouterr()
    assert main(["dashboard"]) == 2
    assert one_line(capsys).startswith("W&B: no project us/deep-residual-learning for this key")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("verb", ["dashboard", "wandb-publish"])
def test_no_key_and_no_network_are_one_line(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paper_like()
    capsys.readouterr()
    assert main([verb]) == 2
    assert "no WANDB_API_KEY" in one_line(capsys)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", NO_SERVER)
    began = time.monotonic()
    assert main([verb]) == 2
    assert time.monotonic() - began < 10
    assert f"no answer from {NO_SERVER}; nothing is lost" in one_line(capsys)


def test_a_file_that_is_no_artefacts_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for text, expected in [
        (None, "no such file"),
        ("{", "cannot be read"),
        ('{"format": 9}', "artefacts"),
        ("[]", "is not"),
    ]:
        if text is not None:
            Path("a.json").write_text(text)
        assert main(["dashboard", "--artefacts", "a.json", "--out", "specs"]) == 2
        assert expected in one_line(capsys)


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://key:secret@example.org/us/resnet.git", "https://example.org/us/resnet"),
        ("git@example.org:us/resnet.git", "https://example.org/us/resnet"),
        ("/home/somebody/resnet", None),
        (None, None),
    ],
)
def test_a_commit_is_linked_without_secrets(remote: str | None, page: str | None) -> None:
    from reproduce.tracking.dashboard.send import web_page

    assert web_page(remote) == page


# ---- Publishing ----


def small() -> list[Path]:
    """Four finished trainings under results/short/, as files and nothing else; one evaluated."""
    folders = [
        fake_results.write_run(Path("results"), "short", run, config=config(run), iterations=6400) for run in SMALL
    ]
    (folders[3] / "eval-10-crop.json").write_text(json.dumps({"top1_error": 7.5, "n": 10000, "protocol": "10-crop"}))
    return folders


def config(run: str) -> Tree:
    net = {"depth": int(run.rpartition("-")[2]), "shortcut": "none" if "plain" in run else "A"}
    return {"model": net, "train": {"iterations": 6400, "batch_size": 128}, "data": {"root": "$DATA"}}


def table(path: Path) -> list[dict[str, float]]:
    return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(path.open())]


def published(folder: Path) -> Path:
    return Path("runs") / folder.relative_to("results") / "published"


def offline_publish(*runs: str) -> None:
    assert main(["wandb-publish", *runs, "--profile", "short", "--wandb", "offline"]) == 0


def test_publishing_brings_every_run_and_every_point() -> None:
    folders = small()
    offline_publish()
    for folder in folders:
        result, place = json.loads((folder / "result.json").read_text()), published(folder)
        (start,) = [record.run for record in records(place) if record.HasField("run")][:1]
        assert start.run_id == digest(["short", result["run"], 0, result["provenance"]["recipe_hash"]])[:16]
        assert (start.run_group, start.job_type) == (result["run"], "train")
        assert list(start.tags)[0] == "short"
        rows = history(place)
        points = [row for row in rows if "iteration" in row]
        for row, expected in zip(points, table(folder / "curve.csv"), strict=True):
            names = {"train/loss": "train_loss", "train/error": "train_error", "test/error": "test_error", "lr": "lr"}
            assert {key: row[key] for key in names} == {key: expected[name] for key, name in names.items()}
            assert row["iteration"] == expected["iteration"]
        stds = [(row["layer"], row["response/std"]) for row in rows if "layer" in row]
        assert stds == [(row["layer"], row["std"]) for row in table(folder / "responses.csv")]
        ranked = [row["response/sorted_std"] for row in rows if "layer" in row]
        assert ranked == sorted((std for _, std in stds), reverse=True)


def test_publishing_carries_summary_and_provenance() -> None:
    folder = small()[3]
    offline_publish("cifar10-resnet-56")
    found = records(published(folder))
    summary = {i.key: json.loads(i.value_json) for r in found if r.HasField("summary") for i in r.summary.update}
    assert (summary["test/error"], summary["eval/10-crop/top1_error"], summary["parameters"]) == (9.0, 7.5, 853018)
    (start,) = [record.run for record in found if record.HasField("run")][:1]
    shown = {item.key: json.loads(item.value_json) for item in start.config.update}
    assert (shown["commit"], shown["model"]["depth"], shown["run"]) == ("f" * 40, 56, "cifar10-resnet-56")
    assert shown["provenance"]["data"]["fingerprint"].startswith("sha256:")
    axes = {r.metric.glob_name: r.metric.step_metric for r in found if r.HasField("metric")}
    assert (axes["test/*"], axes["response/*"]) == ("iteration", "layer")
    assert not published(small_run("cifar10-plain-20")).exists()


def small_run(name: str) -> Path:
    return Path("results/short") / name / "seed-0"


def test_nothing_is_published_twice(capsys: pytest.CaptureFixture[str]) -> None:
    folder = small()[0]
    offline_publish("cifar10-plain-20")
    before = sorted(published(folder).rglob("*.wandb"))
    capsys.readouterr()
    offline_publish("cifar10-plain-20")
    assert "there already" in capsys.readouterr().err
    assert sorted(published(folder).rglob("*.wandb")) == before


def test_what_is_new_is_added_and_nothing_else() -> None:
    folder = small()[0]
    layers = (folder / "responses.csv").read_text()
    (folder / "responses.csv").unlink()
    offline_publish("cifar10-plain-20")
    (first,) = published(folder).glob("wandb/offline-run-*")
    (folder / "responses.csv").write_text(layers)
    offline_publish("cifar10-plain-20")
    first.rename(Path("first"))
    rows = history(published(folder))
    assert len([row for row in rows if "layer" in row]) == 19
    assert not [row for row in rows if "iteration" in row]


def test_other_numbers_under_the_same_id_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    folder = small()[0]
    offline_publish("cifar10-plain-20")
    text = (folder / "curve.csv").read_text()
    (folder / "curve.csv").write_text(re.sub(r"[^,]*\n$", "55.5\n", text))
    capsys.readouterr()
    assert main(["wandb-publish", "--profile", "short", "--wandb", "offline"]) == 2
    assert "there with other numbers (test_error 9 at iteration 6400, the file has 55.5)" in one_line(capsys)


def test_a_record_that_was_cut_off_is_made_anew() -> None:
    folder = small()[0]
    half = published(folder) / "wandb" / "offline-run-20260101_000000-half"
    half.mkdir(parents=True)
    offline_publish("cifar10-plain-20")
    assert not half.exists()
    assert len([row for row in history(published(folder)) if "iteration" in row]) == 64


def test_what_training_left_to_sync_is_named_once_the_server_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its offline folder, and ours of an earlier publishing, would bring the same points again."""
    from reproduce.tracking import publish

    folder = small()[0]
    offline_publish("cifar10-plain-20")
    own = published(folder).parent / "wandb" / f"offline-run-20260101_000000-{publish.read(folder).training.id}"
    own.mkdir(parents=True)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(publish, "_send", lambda *a: None)
    monkeypatch.setattr(publish, "on_server", lambda *a: publish.Known())
    monkeypatch.setattr(wandb_logger, "server", lambda: object())
    assert main(["wandb-publish", "cifar10-plain-20", "--profile", "short"]) == 0
    assert f"do not sync {own}" in capsys.readouterr().err
    assert not list(published(folder).glob("wandb/offline-run-*"))
    offline_publish("cifar10-plain-20")
    assert "there already" in capsys.readouterr().err


def test_a_curve_that_training_logged_is_not_logged_again(tiny: Make) -> None:
    run = tiny(overrides=["execution.wandb=offline"])
    assert train_all([run]) == 0
    assert main(["wandb-publish", "--profile", run.profile, "--wandb", "offline"]) == 0
    place = Path("runs") / run.folder / "published"
    assert not [row for row in history(place) if "iteration" in row]
    summary = [i.key for r in records(place) if r.HasField("summary") for i in r.summary.update]
    assert "parameters" in summary


def test_the_server_is_asked_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Online: a run whose first ten points are there gets the others; one that is whole is left alone."""
    from reproduce.tracking import publish

    folder = small()[0]
    content = publish.read(folder)
    there = {"iteration": [{"iteration": r["iteration"], "test/error": r["test_error"]} for r in content.curve[:10]]}
    run = SimpleNamespace(summary={}, scan_history=lambda keys, use_cache: there.get(keys[0], []))
    asked: list[str] = []

    def answer(path: str) -> Any:
        asked.append(path)
        return run

    api = SimpleNamespace(settings={"entity": "us"}, run=answer)
    sent: list[Any] = []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_logger, "server", lambda: api)
    monkeypatch.setattr(publish, "_send", lambda content, rows, place, mode: sent.append((mode, rows)))
    assert main(["wandb-publish", "cifar10-plain-20", "--profile", "short"]) == 0
    assert asked == [f"us/deep-residual-learning/{content.training.id}"]
    assert sent == [("online", [*content.curve[10:], *content.responses])]
    there["iteration"] = [{"iteration": r["iteration"], "test/error": r["test_error"]} for r in content.curve]
    there["layer"] = content.responses
    run.summary = {"published": content.digest}
    assert main(["wandb-publish", "cifar10-plain-20", "--profile", "short"]) == 0
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--profile", "none"], "no finished training"),
        (["--profile", "../results/short"], "no finished training"),
        (["cifar10-plain-21", "--profile", "short"], "cifar10-plain-21"),
        (["--profile", "short", "--wandb", "disabled"], "invalid choice"),
    ],
)
def test_bad_words_to_publishing_are_one_line(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small()
    assert main(["wandb-publish", *words]) == 2
    assert expected in one_line(capsys)


@pytest.mark.parametrize(("name", "text"), [("curve.csv", "iteration,test_error\nx,1\n"), ("result.json", "{}")])
def test_a_broken_file_is_one_line(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small()[0]
    (folder / name).write_text(text)
    assert main(["wandb-publish", "cifar10-plain-20", "--profile", "short", "--wandb", "offline"]) == 2
    assert "results/short/cifar10-plain-20/seed-0: not the files of a training" in one_line(capsys)
    assert not Path("runs").exists()
