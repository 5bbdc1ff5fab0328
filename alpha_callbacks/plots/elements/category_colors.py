"""A colour and a marker for each category: attention round, MLP square, the rest diamonds."""

from collections.abc import Iterable

from matplotlib.lines import Line2D

from alpha_callbacks.plots.elements.legend import Handle
from alpha_callbacks.plots.elements.text import fit
from alpha_callbacks.weights.layer_names import CATEGORIES

# Okabe and Ito's palette with Paul Tol's dark blue. What replaces a category (qkv, experts) has its colour.
_COLORS = {
    "attn_q": "#0072b2", "attn_k": "#56b4e9", "attn_v": "#009e73", "attn_o": "#332288", "attn_qkv": "#0072b2",
    "mlp_gate": "#e69f00", "mlp_up": "#d55e00", "mlp_down": "#cc79a7", "mlp_gate_up": "#e69f00",
    "moe_router": "#999933", "embedding": "#882255", "lm_head": "#4d4d4d", "conv": "#117733",
}  # fmt: skip
_OTHER = "#888888"


def category_color(category: str) -> str:
    """Return the colour of a category."""
    return _COLORS.get(category.replace("moe_expert_", "mlp_"), _OTHER)


def category_marker(category: str) -> str:
    """Return matplotlib's name of the marker of a category."""
    return "o" if category.startswith("attn_") else "s" if category.startswith(("mlp_", "moe_expert_")) else "D"


def in_order(categories: Iterable[str]) -> list[str]:
    """Return each category once, in the order of the table of categories."""
    return sorted(set(categories), key=lambda name: (CATEGORIES.index(name) if name in CATEGORIES else 99, name))


def category_handles(categories: Iterable[str]) -> list[Handle]:
    """Return the keys of a legend."""
    return [
        Line2D([], [], color=category_color(name), marker=category_marker(name), linestyle="", markersize=5,
               label=fit(name, 1.6, 8.5))
        for name in categories
    ]  # fmt: skip
