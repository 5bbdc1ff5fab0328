"""The shell of a page: head, policy, style, theme switch, scripts and data of its sections, in one file.

A section is added in three steps:

1. Its HTML: a template `assets/<name>.html`, filled by `fill("<name>.html", **values)`. Everything is escaped.
2. Its data, anything that JSON knows: `Section(..., data=...)`. The script reads it by `AH.data("<section's name>")`;
   long columns of numbers go through `packing.packed` and come back by `AH.unpack`.
3. Its script: `assets/<name>.js`, named in `scripts` of `render_page`, in the order that they run. They find `AH`
   (`assets/core.js`: elements, number texts, themes, colours) and `AH.plot` (`assets/plot.js`: plotly in the colours
   of the theme, drawn when it comes into view). Text from a model goes into the page by `AH.el(tag, {text: ...})` or
   `textContent`, never as HTML; plotly's texts, where tags mean something, by `AH.plain`.

Scripts run after the whole page is there; plotly's is the last one, so that the page can be used before it has been
parsed, and charts wait for it. The policy forbids every request, and every script but those that the page was made
with.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from alpha_callbacks._version import __version__

_CORE = ("core.js", "plot.js")


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        name: its id: letters, digits, hyphens.
        title: its heading, and the text of the link to it.
        html: what it shows; from `fill`.
        data: what its script reads, or None.
        intro: a sentence below the heading.
        aside: a small note at the right of the heading.
    """

    name: str
    title: str
    html: Markup
    data: Any = None
    intro: str = ""
    aside: str = ""


@dataclass(frozen=True)
class Tile:
    """A figure with what it means; `warn` where it asks for attention."""

    value: str
    what: str
    warn: bool = False


def render_page(
    title: str,
    sections: Sequence[Section],
    *,
    kind: str = "",
    subtitle: str = "",
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    plotly: bool = True,
) -> str:
    """Return a whole page as one HTML file.

    Args:
        title: what it is about, such as the name of the model.
        sections: from top to bottom.
        kind: what it is, above the title: "alpha-Hill report".
        subtitle: a line below the title.
        scripts: assets to run, after the shell's own.
        styles: assets, after the shell's own.
        plotly: False leaves plotly's script (4.8 MB) out.
    """
    codes = [*(asset(name) for name in (*_CORE, *scripts)), *([_plotly()] if plotly else [])]
    return str(
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            kind=kind,
            subtitle=subtitle,
            sections=sections,
            style=Markup("\n".join(asset(name) for name in ("page.css", *styles))),
            scripts=[Markup(code) for code in codes],
            data=[(section.name, json_text(section.data)) for section in sections if section.data is not None],
            policy=_policy(codes),
            version=__version__,
        )
    )


def fill(template: str, **values: Any) -> Markup:
    """Return the HTML of a template in assets/; every value is escaped unless it is HTML that `fill` made."""
    return Markup(_environment().get_template(template).render(**values))


def headline(tiles: Sequence[Tile], sentences: Sequence[str]) -> Markup:
    """Return what a page begins with: figures, and what was learned."""
    return fill("headline.html", tiles=tiles, sentences=sentences)


def breakable(name: str) -> Markup:
    """Return a layer's name that a line may break after a dot or an underscore, not inside a word.

    Examples:
        >>> str(breakable("mlp.up_proj"))
        'mlp.<wbr>up_<wbr>proj'
    """
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def json_text(value: Any) -> Markup:
    r"""Return JSON that may stand inside a script element: no character of it can end the element or begin a comment.

    Examples:
        >>> str(json_text({"layer": "</script>"}))
        '{"layer":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@cache
def asset(name: str) -> str:
    """Return the text of a file in assets/."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("alpha_callbacks.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script = str(get_plotlyjs())
    assert "</script" not in script and "\r" not in script  # it goes into a script element as it is
    return script


def _policy(scripts: Sequence[str]) -> str:
    """Return a policy that lets these scripts run and nothing be fetched; plotly styles elements one by one."""
    digests = (base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
