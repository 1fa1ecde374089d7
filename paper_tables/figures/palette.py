"""The colours of nets: Okabe and Ito's, distinct with any colour vision, or those of the paper's figures."""

from __future__ import annotations

SAFE = {"olive": "#e69f00", "cyan": "#56b4e9", "green": "#009e73", "red": "#d55e00", "black": "#000000"}
SAFE |= {"magenta": "#cc79a7", "grey": "#808080"}
PAPER = {"olive": "#b8b000", "cyan": "#00b4c0", "green": "#00802b", "red": "#e8000b", "black": "#000000"}
PAPER |= {"magenta": "#c800b4", "grey": "#808080"}
PALETTES = {"safe": SAFE, "paper": PAPER}
