"""The fonts of a PDF without tables that no PDF reader uses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Ligatures, kerning and marks: matplotlib places each glyph itself, from the whole font. To reduce these tables to the
# glyphs of one figure takes half of the time that a PDF takes.
_LAYOUT = ("GSUB", "GPOS", "GDEF", "kern")
_TURN = threading.Lock()  # the list of tables is one per process


@contextmanager
def without_layout_tables() -> Iterator[None]:
    """Let fontTools, by which matplotlib embeds fonts, drop the layout tables; one made otherwise keeps them.

    Threads that write one each take turns.
    """
    from fontTools.subset import Options

    with _TURN:
        before = getattr(Options, "_drop_tables_default", None)  # matplotlib takes no options for it
        if before is None:
            yield
            return
        Options._drop_tables_default = [*before, *_LAYOUT]
        try:
            yield
        finally:
            Options._drop_tables_default = before
