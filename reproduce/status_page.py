"""The states of the runs as one page that needs nothing beside it."""

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape

from reproduce.status import HEAD, State, row, totals

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2024; --soft: #5b6570; --line: #d9dde2;
  --done: #14703a; --running: #0b5cad; --failed: #a61b1b; --interrupted: #7a4b00; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e6e9ec; --soft: #a3adb7; --line: #343b43;
  --done: #7fd6a0; --running: #79b8ff; --failed: #ff9c9c; --interrupted: #ffd479; } }
body { margin: 0 auto; max-width: 1400px; padding: 1rem clamp(0.8rem, 3vw, 2.5rem);
  background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
p { color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.4rem 0.7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:last-child { white-space: normal; min-width: 12rem; }
.bar { display: block; height: 0.25rem; min-width: 5rem; border-radius: 2px; background: var(--line); }
.bar span { display: block; height: 100%; border-radius: 2px; background: currentColor; }
.done { color: var(--done); } .running { color: var(--running); }
.failed { color: var(--failed); } .interrupted { color: var(--interrupted); }
.not-run { color: var(--soft); }
@media print { .scroll { overflow: visible; border: 0; } table { font-size: 7.5pt; } td, th { white-space: normal; } }
"""


def page(found: Sequence[State], profile: str, now: float) -> str:
    """HTML; `now` in seconds since 1970 stands on it."""
    when = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    head = "".join(f'<th scope="col">{escape(name) or "note"}</th>' for name in HEAD)
    body = "\n".join(map(_row, found))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runs of profile {escape(profile)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Runs of profile {escape(profile)}</h1>
<p>{escape(totals(found))}</p>
<p>As of {when}; <code>make status</code> writes this page anew.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Runs">
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
</body>
</html>
"""


def _row(one: State) -> str:
    cells = [escape(cell) for cell in row(one)]
    kind = one.word.replace(" ", "-")
    share = min(1.0, one.iteration / one.run.config.train.iterations)
    cells[2] = f'<strong class="{kind}">{cells[2]}</strong>'
    cells[3] += f'<span class="bar {kind}" aria-hidden="true"><span style="width: {100 * share:.1f}%"></span></span>'
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
