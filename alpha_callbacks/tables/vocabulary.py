"""What charts and pages look like: colours, category order, metrics and labels, as plain data.

Everything that is drawn reads these values, whether by matplotlib or by a page in a browser, which gets them as JSON
from `page_vocabulary`. This module stands below `comparison` because summaries of a comparison list their categories
in the same order, and it imports neither matplotlib nor torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from alpha_callbacks.weights.categories import CATEGORIES
from alpha_callbacks.weights.layer_names import UPDATE_CATEGORY
from alpha_callbacks.weights.modalities import MODALITIES, category_in, group_of

Shape = Literal["circle", "square", "diamond"]
Scale = Literal["sequential", "diverging", "around", "error"]

# Static charts stand on white. A page has greys of its own, one set per theme (assets/page.css).
INK, GREY, FAINT = "#222222", "#666666", "#d9d9d9"
ON_DARK = "#ffffff"  # text on a dark cell; on a light one it is INK
DARK_BELOW = 0.55  # luma below which a cell counts as dark
HOLE, HATCH = "#eeeeee", "#c4c4c4"  # a cell without a value, and the lines on it

# Meaning -> colour on white, colour in the dark theme of a page. Pages have them as CSS variables.
MEANINGS = {
    "noise": ("#8c2d5c", "#e58ab8"),  # the Marchenko-Pastur law; no precision has this colour
    "data": ("#0072b2", "#3b8fdb"),  # eigenvalues, and alpha against k
    "tail": ("#d55e00", "#ff9d5c"),  # the fitted tail
    "up": ("#a8202f", "#f39a83"),  # alpha rises
    "down": ("#2b46b0", "#9ab6ff"),  # alpha falls
}
NOISE, DATA, TAIL = (MEANINGS[name][0] for name in ("noise", "data", "tail"))

# The palette of Okabe and Ito (distinguishable with any colour vision), then Paul Tol's "muted" for further precisions.
PRECISION_COLORS = {"fp64": "#4d4d4d", "fp32": "#0072b2", "fp16": "#e69f00", "bf16": "#009e73"}
OTHER_PRECISIONS = ("#cc79a7", "#d55e00", "#56b4e9", "#999933", "#332288", "#aa4499", "#44aa99", "#ddcc77")
# Policies of plans; "uniform" is one format for all layers.
POLICY_COLORS = {
    "measured": "#0072b2", "fisher": "#009e73", "alphaq": "#cc79a7", "thresholds": "#d55e00", "uniform": "#666666",
}  # fmt: skip
# Categories that replace others (qkv, gate_up, experts) have the colours of those.
CATEGORY_COLORS = {
    "attn_q": "#0072b2", "attn_k": "#56b4e9", "attn_v": "#009e73", "attn_o": "#332288", "attn_qkv": "#0072b2",
    "attn_kv": "#56b4e9", "attn_gate": "#44aa99", "attn_position": "#ddcc77", "attn_sampling": "#ddcc77",
    "attn_indexer": "#999933", "ssm_in": "#44aa99", "ssm_x": "#999933", "ssm_dt": "#ddcc77", "ssm_gate": "#56b4e9",
    "ssm_out": "#332288", "conv_in": "#44aa99", "conv_out": "#117733", "modulation": "#ddcc77", "adapter": "#cc79a7",
    "input_proj": "#882255", "projector": "#aa4499", "pooler": "#4d4d4d", "head": "#4d4d4d",
    "mlp_gate": "#e69f00", "mlp_up": "#d55e00", "mlp_down": "#cc79a7", "mlp_gate_up": "#e69f00",
    "moe_router": "#999933", "embedding": "#882255", "lm_head": "#4d4d4d", "conv": "#117733",
}  # fmt: skip
OTHER_CATEGORY = "#888888"
_GROUPS = [group_of(name, modality) for modality in ("", *MODALITIES) for name in CATEGORIES]
_PLACES = {name: place for place, name in enumerate([*_GROUPS, *(f"{name}{UPDATE_CATEGORY}" for name in _GROUPS)])}
# Layers outside blocks in a panel of lines: the first has the colour of text, the next ones these, the others are grey.
OUTSIDE_COLORS = ("#d55e00", "#0072b2", "#cc79a7", "#009e73", "#e69f00")
# What replaces a colour that is hard to see in the dark theme of a page.
DARK_THEME = {
    "#0072b2": "#3b8fdb", "#332288": "#9d8df1", "#4d4d4d": "#b9bec6", "#882255": "#cf6fa3", "#117733": "#55b06f",
}  # fmt: skip

# Colour stops from low to high: viridis; Moreland's diverging map (2009), around 0 or around the median; Brewer's OrRd.
SCALES: dict[Scale, tuple[str, ...]] = {
    "sequential": (
        "#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c",
        "#1fa088", "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725",
    ),
    "diverging": (
        "#3b4cc0", "#4e68d8", "#6282ea", "#779af7", "#8db0fe", "#a3c2fe", "#b9d0f9", "#ccd9ed", "#dddcdc",
        "#ecd3c5", "#f5c4ac", "#f7b093", "#f4987a", "#eb7d62", "#dd5f4b", "#ca3b37", "#b40426",
    ),
    "error": ("#fff7ec", "#fee8c8", "#fdd49e", "#fdbb84", "#fc8d59", "#ef6548", "#d7301f", "#b30000", "#7f0000"),
}  # fmt: skip
SCALES["around"] = SCALES["diverging"]

# Of more values than this, colours leave out this share at each end, or a few extreme ones would make the rest pale.
CUT_FROM, CUT = 50, 0.02
# Around a median, colours end no nearer than this share of it: layers that hardly differ look alike.
LEAST_AROUND = 0.05

LABELS = {
    "noise": "noise (MP)",
    "spread": "± 1.96 spreads",
    "no_alpha": "no usable alpha",
    "color_ends": "colours end at the 2nd and 98th percentile",
    "change_ends": "colours end at the 98th percentile of the changes",
    "around_ends": "colours end at the 98th percentile of the distances from the median",
    "lost": "×",  # a cell whose layers have no usable alpha
}


@dataclass(frozen=True)
class Metric:
    """How one value of a layer is named, written and coloured. Texts may name the reference as {reference}.

    Attributes:
        title: its short name: buttons, columns of tables.
        heading: the title of a figure.
        axis: the label of an axis.
        bar: the label of a colour bar.
        digits: significant digits in a text.
        scale: its colours.
        shared: True if one colour scale serves all precisions.
        about: what it is, in one or two sentences.
        ends: what the low and the high end of the colours mean.
    """

    title: str
    heading: str
    axis: str
    bar: str
    digits: int
    scale: Scale
    shared: bool = False
    about: str = ""
    ends: tuple[str, str] = ("", "")


METRICS = {
    "alpha": Metric(
        "alpha", "alpha", "alpha (tail exponent, no unit)", "alpha (no unit)", 6, "sequential", True,
        "Tail exponent. Smaller: heavier tail. Compare only layers of the same shape.",
        ("heavier tail", "lighter tail"),
    ),
    "alpha_ratio": Metric(
        "alpha / noise", "alpha / alpha of noise (MP)", "alpha / noise", "alpha / noise", 4, "sequential", True,
        "alpha divided by the alpha of pure noise of the same shape. 1: like noise. Smaller: heavier tail.",
        ("heavier tail", "noise"),
    ),
    "drift": Metric(
        "drift", "drift of alpha", "alpha − alpha({reference})", "alpha − alpha({reference}) (no unit)", 3, "diverging",
        about="alpha minus alpha at {reference}.", ends=("alpha falls", "alpha rises"),
    ),
    "relative_error": Metric(
        "relative error", "relative error of the weights", "‖W − Q(W)‖ / ‖W‖", "‖W − Q(W)‖ / ‖W‖", 3, "around",
        about="How much rounding changes the weights: ‖W − Q(W)‖ / ‖W‖. Palest: the median of the format.",
        ends=("small", "large"),
    ),
    "relative_size": Metric(
        "size of the update", "size of the update", "‖W − W0‖ / ‖W0‖", "‖W − W0‖ / ‖W0‖", 3, "error",
        about="How far a weight has moved: ‖W − W0‖ / ‖W0‖.", ends=("small", "large"),
    ),
    "change": Metric(
        "change since the start", "Change of alpha since the start", "alpha − first alpha",
        "alpha − first alpha (no unit)", 3, "diverging",
    ),
}  # fmt: skip


def category_color(category: str) -> str:
    """Return the colour of a category; it is the same in each modality, and for an update."""
    name, _ = category_in(category.removesuffix(UPDATE_CATEGORY))
    name = name.replace("moe_expert_", "mlp_").replace("moe_shared_", "mlp_").removeprefix("cross_")
    return CATEGORY_COLORS.get(name, OTHER_CATEGORY)


def category_shape(category: str) -> Shape:
    """Return the marker of a category: attention is round, the MLP square, the rest are diamonds."""
    category, _ = category_in(category)
    if category.startswith(("attn_", "cross_attn_")):
        return "circle"
    return "square" if category.startswith(("mlp_", "moe_expert_", "moe_shared_")) else "diamond"


def in_order(categories: Iterable[str]) -> list[str]:
    """Return each category once, in the order of `CATEGORIES` and by modality, then updates, then unknown ones by name.

    Examples:
        >>> in_order(["mine", "mlp_up", "vision_attn_q", "attn_q", "mlp_up"])
        ['attn_q', 'mlp_up', 'vision_attn_q', 'mine']
    """
    return sorted(set(categories), key=lambda name: (_PLACES.get(name, len(_PLACES)), name))


def precision_colors(precisions: Sequence[str]) -> dict[str, str]:
    """Return a colour for each precision; those of fp64, fp32, fp16 and bf16 never change."""
    others = [name for name in precisions if name not in PRECISION_COLORS]
    cycle = {name: OTHER_PRECISIONS[i % len(OTHER_PRECISIONS)] for i, name in enumerate(others)}
    return {name: PRECISION_COLORS.get(name) or cycle[name] for name in precisions}


def ink_on(red: float, green: float, blue: float) -> str:
    """Return the colour of a text that can be read on a cell of this colour (channels from 0 to 1)."""
    return ON_DARK if 0.299 * red + 0.587 * green + 0.114 * blue < DARK_BELOW else INK


def page_vocabulary() -> dict[str, Any]:
    """Return everything above that the scripts of a page read, as JSON knows it."""
    return {
        "categories": [[name, category_color(name), category_shape(name)] for name in CATEGORIES],
        "modalities": list(MODALITIES),
        "other_category": [OTHER_CATEGORY, category_shape("")],
        "precisions": PRECISION_COLORS,
        "other_precisions": list(OTHER_PRECISIONS),
        "outside": list(OUTSIDE_COLORS),
        "dark_theme": DARK_THEME,
        "scales": {name: list(stops) for name, stops in SCALES.items()},
        "cut": {"from": CUT_FROM, "share": CUT, "around": LEAST_AROUND},
        "inks": {"dark": ON_DARK, "light": INK, "dark_below": DARK_BELOW},
        "labels": LABELS,
        "metrics": {name: {**asdict(metric), "ends": list(metric.ends)} for name, metric in METRICS.items()},
    }


def theme_css() -> str:
    """Return the CSS variables of `MEANINGS`, one set per theme of a page."""
    light, dark = (" ".join(f"--{name}: {colors[theme]};" for name, colors in MEANINGS.items()) for theme in range(2))
    return f':root {{ {light} }}\n:root[data-theme="dark"] {{ {dark} }}'
