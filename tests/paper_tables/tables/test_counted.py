"""Table 1, counted from the nets, and what a broken count does."""

import json
from pathlib import Path

from tests.helpers.evidence import ROOT, row, table


def test_table1_is_counted_and_agrees_with_every_row_of_the_paper() -> None:
    found = table("table1", ROOT / "results")
    rows = list(found.body())
    ours = [row for row in rows if row[1] == "ours"]
    assert [row[-1] for row in ours[:8]] == ["yes"] * 8
    assert ours[4][2:8] == [
        "14×14",
        *(f"[3×3, 256; 3×3, 256] ×{n}" for n in (2, 6)),
        *(f"[1×1, 256; 3×3, 256; 1×1, 1024] ×{n}" for n in (6, 23, 36)),
    ]
    assert ours[7][3:8] == ["1.795×10⁹", "3.644×10⁹", "3.858×10⁹", "7.570×10⁹", "11.282×10⁹"]
    assert row(found, "parameters, option C")[3:8] == ["", "22,716,840", "", "", ""]
    assert any("conv1, max pool, conv3_1, conv4_1, conv5_1" in note for note in found.notes)
    assert any("VGG-16, fc included: 15.470×10⁹ (the text prints 15.3×10⁹)" in note for note in found.notes)


def test_a_net_that_is_not_the_papers_disagrees(tmp_path: Path) -> None:
    nets = json.loads((ROOT / "results" / "architectures.json").read_text())
    nets["imagenet-resnet-50"]["parts"][-3]["times"] += 1
    nets["imagenet-resnet-34-A"]["multiply_adds"] += 10**8
    (tmp_path / "architectures.json").write_text(json.dumps(nets))
    ours = [row for row in table("table1", tmp_path).body() if row[1] == "ours"]
    assert [row[-1] for row in ours[:8]] == ["yes"] * 5 + ["no", "yes", "no"]
    assert ours[5][5] == "[1×1, 512; 3×3, 512; 1×1, 2048] ×4"
