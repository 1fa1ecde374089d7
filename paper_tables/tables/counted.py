"""Table 1 and the numbers of Figure 3: what the paper prints, beside what was counted from the nets themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from paper_tables.paper import Artefact, typeset
from paper_tables.results.evidence import Evidence
from paper_tables.tables.table import NOT_RUN, Table

COMMAND = "python -m reproduce architectures"
Net = dict[str, Any]


def counted_table(artefact: Artefact, evidence: Evidence) -> Table:
    """The paper's rows, each with ours under it, counted from `nets` by the row's `count`; and whether they agree."""
    names, nets = artefact.spec["nets"], evidence.results.architectures
    titles = [column["title"] for column in artefact.columns]
    rows: list[list[str] | str] = []
    for row, cells in artefact.rows:
        printed = [str(cell) for cell in cells]
        lead = len(printed) - len(names)  # the row's name, and in Table 1 the size of its map
        counted = [count(row["count"], nets[name]) if name in nets else NOT_RUN for name in names]
        sizes = {output(row["count"], nets[name]) for name in names if name in nets}
        ours = [*[" or ".join(sorted(sizes))] * (lead - 1), *counted]
        rows.append([printed[0], "paper", *printed[1:], ""])
        rows.append(["", "ours", *ours, agree(printed[1:], ours)])
    extra, notes = more_counts(artefact, evidence)
    return Table(artefact.name, artefact.caption, [titles[0], "", *titles[1:], "agree"], rows + extra, notes=notes)


def more_counts(artefact: Artefact, evidence: Evidence) -> tuple[list[list[str] | str], list[str]]:
    """Table 1's rows that the paper has not, and what both tables have to say."""
    nets = evidence.results.architectures
    if not nets:
        return [], [artefact.protocol, f"Ours is not counted yet: {COMMAND}."]
    notes = [artefact.protocol, f"Ours is counted from the nets ({COMMAND}); FLOPs agree to 0.1×10⁹."]
    if "counted_too" not in artefact.spec:
        return [], notes
    for name, printed in artefact.spec["text_flops"].items():
        if name in nets:
            label, ours = evidence.paper.label(name), count("flops", nets[name])
            notes.append(f"{label}, fc included: {ours} (the text prints {printed}).")
    strides = {name: downsampling(nets[name]) for name in artefact.spec["nets"] if name in nets}
    for places, same in groupby(strides, key=lambda name: strides[name]):
        notes.append(f"Stride 2 in ours, {len(list(same))} nets: {places}.")
    notes.append("The softmax is part of the loss and of the evaluation in ours.")
    return ["Counted from our nets; the paper's table has no such rows", *option_rows(artefact, nets)], notes


def option_rows(artefact: Artefact, nets: dict[str, Net]) -> Iterator[list[str]]:
    """Parameters, then multiply-adds, of nets as deep as the table's with each other kind of shortcut."""
    columns = artefact.spec["nets"]
    found = {(net["input"], net["layers"], net["shortcut"]): net for net in nets.values()}
    for key in ("parameters", "multiply_adds"):
        for kind, shortcut in artefact.spec["counted_too"].items():
            wanted = [(nets[name]["input"], nets[name]["layers"], shortcut) if name in nets else () for name in columns]
            cells = [f"{found[net][key]:,}" if net in found else "" for net in wanted]
            yield [f"{key.replace('_', '-')}, {kind}", "ours", "", *cells, ""]


def count(what: Any, net: Net) -> str:
    """What a row of Table 1 or Figure 3 prints of one net, in the paper's words."""
    if what == "flops":
        return f"{net['multiply_adds'] / 1e9:.3f}×10⁹"
    if isinstance(what, dict):
        return str(convolutions(net, int(what["kernel"]), int(what["filters"])))
    return typeset(", ".join(stage_words(net, name) for name in what.split(" and ")))


def stage_words(net: Net, name: str) -> str:
    """One stage: "[3x3, 64; 3x3, 64] x3", "7x7, 64, stride 2", "average pool, 1000-d fc"."""
    parts = [part for part in net["parts"] if part["name"] == name]
    words = [("; ".join(layer_words(layer) for layer in part["layers"]), part["times"]) for part in parts]
    if not name.endswith("_x"):
        return ", ".join(text + stride_words(part["layers"][0]) for (text, _), part in zip(words, parts, strict=True))
    groups = [(text, sum(n for _, n in same)) for text, same in groupby(words, key=lambda pair: pair[0])]
    return ", then ".join(f"[{text}] x{times}" for text, times in groups)


def layer_words(layer: dict[str, Any]) -> str:
    words = {"fc": "{filters}-d fc", "average pool": "average pool", "max pool": "{kernel}x{kernel} max"}
    return words.get(layer["kind"], "{kernel}x{kernel}, {filters}").format_map(layer)


def stride_words(layer: dict[str, Any]) -> str:
    return f", stride {layer['stride']}" if layer.get("stride", 1) > 1 else ""


def output(what: Any, net: Net) -> str:
    """Side of the map that a stage leaves, "56x56"; empty for what has none."""
    name = what.split(" and ")[-1] if isinstance(what, str) else ""
    sides = [part["layers"][-1]["output"] for part in net["parts"] if part["name"] == name]
    return f"{sides[-1]}×{sides[-1]}" if sides else ""


def layers_of(net: Net) -> Iterator[tuple[str, dict[str, Any] | None, list[dict[str, Any]]]]:
    """(stage, shortcut, layers) of each block in order; what is no block stands alone."""
    for part in net["parts"]:
        for _ in range(part["times"]):
            yield part["name"], part["shortcut"], part["layers"]


def convolutions(net: Net, kernel: int, filters: int) -> int:
    found = [layer for _, _, layers in layers_of(net) for layer in layers if layer["kind"] == "conv"]
    return sum(layer["kernel"] == kernel and layer["filters"] == filters for layer in found)


def downsampling(net: Net) -> str:
    """Where the map is halved: conv1, max pool, conv3_1, ..."""
    seen: dict[str, int] = {}
    places = []
    for name, _, layers in layers_of(net):
        seen[name] = seen.get(name, 0) + 1
        if any(layer.get("stride", 1) > 1 for layer in layers):
            places.append(name.replace("_x", f"_{seen[name]}").replace("_pool", " pool"))
    return ", ".join(places)


def agree(printed: list[str], ours: list[str]) -> str:
    """yes or no; FLOPs to 0.1x10^9, and what the paper leaves empty agrees with anything."""
    if NOT_RUN in ours:
        return ""
    pairs = [(a.removesuffix(", softmax"), b) for a, b in zip(printed, ours, strict=True) if a]
    return "yes" if all(same(a, b) for a, b in pairs) else "no"


def same(printed: str, ours: str) -> bool:
    if not ours.endswith("×10⁹"):
        return printed == ours
    return abs(float(printed.removesuffix("×10⁹")) - float(ours.removesuffix("×10⁹"))) < 0.1
