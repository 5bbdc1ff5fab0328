"""The shell of a page: head, policy, style, theme switch, scripts and data of its sections, in one file.

A section is added in three steps:

1. Its HTML: a template `assets/<name>.html`, filled by `fill("<name>.html", **values)`. Everything is escaped.
2. Its data, anything that JSON knows: `Section(..., data=...)`. The script reads it by `AH.data("<section's name>")`;
   long columns of numbers go through `packing.packed` and come back by `AH.unpack`.
3. Its script: `assets/<name>.js`, named in `scripts` of `render_page`, in the order that they run. They find `AH`
   (`assets/core.js`: elements, number texts, themes), the colours of `vocabulary.py` (`assets/colors.js`) and
   `AH.plot` (`assets/plot.js`: plotly in the colours of the theme, drawn when it comes into view), `AH.state`
   (`assets/state.js`: what is shown, kept in the address), `AH.onPaper` (`assets/paper.js`: before and after a print).
   Text from a model goes into the page by `AH.el(tag, {text: ...})` or `textContent`, never as HTML; plotly's texts,
   where tags have a meaning, by `AH.plain`.

Every page carries `vocabulary.page_vocabulary()` as the data "vocabulary", and the CSS variables of
`vocabulary.theme_css()`: no script or style sheet names a colour of its own but the greys of the page's theme.

Scripts run once the whole page is parsed; plotly's is the last one, so the page can be used before plotly has loaded,
and charts wait for it. The policy forbids every request, and every script except those that the page was made with.
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
from alpha_callbacks.foreign_text import visible
from alpha_callbacks.tables.vocabulary import page_vocabulary, theme_css

_CORE = ("core.js", "state.js", "colors.js", "plot.js", "paper.js")


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
    """A number with its meaning; `warn` marks one that needs attention."""

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
        title: its subject, such as the name of the model.
        sections: from top to bottom.
        kind: the kind of page, shown above the title: "alpha-Hill report".
        subtitle: a line below the title.
        scripts: assets to run, after the shell's own.
        styles: assets, after the shell's own.
        plotly: False leaves plotly's script (4.8 MB) out.
    """
    data = {"vocabulary": page_vocabulary(), **{s.name: s.data for s in sections if s.data is not None}}
    codes = [*(asset(name) for name in (*_CORE, *scripts)), *([_plotly()] if plotly else [])]
    return str(
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            kind=kind,
            subtitle=subtitle,
            sections=sections,
            style=Markup("\n".join([theme_css(), *(asset(name) for name in ("page.css", *styles))])),
            scripts=[Markup(code) for code in codes],
            data=[(name, json_text(value)) for name, value in data.items()],
            policy=_policy(codes),
            version=__version__,
        )
    )


def fill(template: str, **values: Any) -> Markup:
    """Return the HTML of a template in assets/; every value is escaped unless it is HTML that `fill` made."""
    return Markup(_environment().get_template(template).render(**values))


def headline(tiles: Sequence[Tile], sentences: Sequence[str]) -> Markup:
    """Return the head of a page: its key numbers and findings."""
    return fill("headline.html", tiles=tiles, sentences=sentences)


def breakable(name: str) -> Markup:
    """Return a layer's name that a line may break after a dot or an underscore, not inside a word.

    Examples:
        >>> str(breakable("mlp.up_proj"))
        'mlp.<wbr>up_<wbr>proj'
    """
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(visible(name)))))


def json_text(value: Any) -> Markup:
    r"""Return JSON that is safe inside a script element: it can neither end the element nor begin a comment.

    Examples:
        >>> str(json_text({"layer": "</script>"}))
        '{"layer":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_shown(value), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _shown(value: Any) -> Any:
    """Return a value for a page with every text in it visible; HTML that was made here stays."""
    if type(value) is str:
        return visible(value)
    if isinstance(value, dict):
        return {_shown(key): _shown(each) for key, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, list | tuple) else value


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
        finalize=_shown,
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
    """Return a policy that allows these scripts and no request; plotly needs inline styles."""
    digests = (base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
