"""Which pictures docs/gallery.md has: of the pages now, and of the same pages of an earlier version."""

from dataclasses import dataclass, replace
from typing import Literal

WIDE = 1200  # pixels


@dataclass(frozen=True)
class Shot:
    """One picture of a page.

    Attributes:
        page: its path in the work folder.
        address: what follows it, such as "#layer=lm_head".
        part: the element that is shown; "" is the window.
        width: of the window, in pixels.
        height: of the window.
        most: of the picture; what is below is left out.
        theme: its colours.
        script: JavaScript that is run before.
        sheets: print the page, and show so many of its sheets in place of the window.
    """

    page: str
    address: str = ""
    part: str = ""
    width: int = WIDE
    height: int = 900
    most: int = 3000
    theme: Literal["light", "dark"] = "light"
    script: str = ""
    sheets: int = 0


_SCAN, _COMPARE, _HISTORY = "scan/report.html", "compare/compare.html", "history/history.html"
_LAYER = "model.layers.0.self_attn.k_proj"

SHOTS = {
    "opened": Shot(_SCAN),
    "plan": Shot(_SCAN, part="#plan"),
    "findings": Shot(_SCAN, part="#findings"),
    "map_error": Shot(_SCAN, part="#map"),
    "map_noise": Shot(_SCAN, "#v=ratio", "#map"),
    "formats": Shot(_SCAN, part="#formats", most=560),
    "panel": Shot(_SCAN, f"#layer={_LAYER}&p=int4", "#panel", width=700, height=1180),
    "phone": Shot(_SCAN, "#map", width=400, height=800),
    "dark": Shot(_SCAN, "#map", part="#map", theme="dark"),
    "printed": Shot(_SCAN, sheets=8),
    "compare": Shot(_COMPARE, part="#where"),
    "compare_sides": Shot(_COMPARE, part="#alphas"),
    "history_map": Shot(_HISTORY, part="#map"),
    "history_lines": Shot(_HISTORY, part="#lines"),
}
_OPEN = f"AH.panel.open([AH.layers.all.find((i) => AH.layers.name(i) === '{_LAYER}')], {{precision: 3}})"
BEFORE_SHOTS = {
    "before_opened": SHOTS["opened"],
    "before_plan": Shot(_SCAN, part="#recommendation", most=700),
    "before_findings": SHOTS["findings"],
    "before_map": SHOTS["map_error"],
    "before_layers": Shot(_SCAN, part="#layers", most=560),
    "before_panel": replace(SHOTS["panel"], address="", script=_OPEN),
    "before_phone": SHOTS["phone"],
    "before_dark": SHOTS["dark"],
    "before_printed": SHOTS["printed"],
    "before_compare": SHOTS["compare"],
    "before_compare_sides": SHOTS["compare_sides"],
    "before_history_map": SHOTS["history_map"],
    "before_history_lines": SHOTS["history_lines"],
}
CARDS = {name: name for name in ("heat_relative_error", "heat_alpha_ratio", "bars_attn_v", "bars_lm_head")}
BEFORE_CARDS = {f"before_{name}": name for name in ("heat_alpha", "bars_attn_v", "bars_lm_head")}
FILES = {
    "file_map": "heatmap_relative_error_int4_g32",
    "file_category": "category_mlp_down",
    "file_distribution": "alpha_distribution_by_precision",
}
BEFORE_FILES = {
    "before_file_map": "heatmap_alpha_int4_g32",
    "before_file_category": "category_mlp_down",
    "before_file_distribution": "alpha_distribution_by_precision",
}
