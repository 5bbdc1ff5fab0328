r"""Text that others have written, made safe for where it goes: names of layers, files and models, texts of servers.

A checkpoint may come from anybody, and so may the names in it. Each medium has its function:

| medium | function | what it does |
|---|---|---|
| terminal, log, error, page, chart, table of a logger | `visible` | what cannot be seen is written as an escape |
| CSV | `csv_cell`, undone by `from_csv_cell` | the same, reversibly; no cell is a formula |
| tag or key of a logger | `distinct` with `tag` | one key per name, of characters that every logger takes |
| name of a file | `safe_file_name`, `legal_folder_name` | a name that every system allows |
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256

_LONGEST_FILE_NAME = 100  # characters
_LONGEST_TAG = 180  # MLflow refuses keys of more than 250 with what stands before a name

_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
# Where a spreadsheet could see the beginning of a cell, also one that splits lines at ";". The signs of full width are
# those of East Asian keyboards.
_BEGINS = "((?:^|;) *)('{%s})(?=[=+@\uff0b\uff0d\uff1d\uff20-])"
_BEFORE_A_FORMULA = frozenset(" '=+-@\uff0b\uff0d\uff1d\uff20")  # first characters of all that `_FORMULA` can match
_FORMULA, _GUARDED = (re.compile(_BEGINS % least) for least in ("0,", "1,"))
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")
# Names of devices on Windows, whatever stands after the first dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE)


def visible(text: str, *, keep: str = "") -> str:
    r"""Return one line in which every character can be seen.

    Control characters (among them those that drive a terminal), characters of direction and of no width, line
    separators, blanks other than the space, and lone surrogates are written as escapes, as Python writes them.

    Args:
        text: of any origin.
        keep: characters that stay, such as "\n" in a text of several lines.

    Examples:
        >>> visible("a\x1b]52;c;aGk=\x07\u202eb"), visible("слой.q_proj")
        ('a\\x1b]52;c;aGk=\\x07\\u202eb', 'слой.q_proj')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def csv_cell(text: str) -> str:
    r"""Return a cell of a CSV file on one line, which no spreadsheet takes for a formula; a number stays as it is.

    What cannot be seen is written as in `visible`, and then every backslash is doubled. Where a cell could begin with
    = + - or @, an apostrophe stands before it. `from_csv_cell` undoes both.

    Examples:
        >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell("a\rb"), csv_cell("C:\\models")
        ("'=1+1", '-0.5', 'a\\x0db', 'C:\\models')
    """
    if not text.isprintable() or ("\\" in text and _ESCAPED.search(text)):
        text = visible(text.replace("\\", r"\\"))
    if text[:1] not in _BEFORE_A_FORMULA and ";" not in text:
        return text
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'\2", text)


def from_csv_cell(text: str) -> str:
    r"""Return the text that `csv_cell` made a cell of.

    Examples:
        >>> from_csv_cell("'=1+1"), from_csv_cell("a\\x0db"), from_csv_cell("'quoted'")
        ('=1+1', 'a\rb', "'quoted'")
    """
    if "'" in text:
        text = _GUARDED.sub(lambda found: found[1] + found[2][1:], text)
    return _ESCAPED.sub(_unescape, text) if "\\" in text else text


def tag(name: str) -> str:
    """Return a name without what means something in a tag, a URL or a page; two names may have one: see `distinct`.

    Examples:
        >>> tag("layers.0.up proj"), tag("a/<b>")
        ('layers.0.up_proj', 'a__b_')
    """
    return re.sub(r"[^\w.-]", "_", name)


def distinct(names: Iterable[str], clean: Callable[[str], str] = tag) -> dict[str, str]:
    """Return name -> cleaned name; no two names have the same one, and it does not depend on their order.

    Where cleaned names are equal, those that cleaning has changed get a digest of the name; so do cut ones. Names of
    files that differ in case only are equal, as Windows and macOS take them, and each of them gets a digest.

    Args:
        names: all that stand side by side.
        clean: makes one name of characters that may stand there.

    Examples:
        >>> distinct(["a b", "a_b"])
        {'a b': 'a_b_c8687a', 'a_b': 'a_b'}
        >>> distinct(["Case", "case"], safe_file_name)
        {'Case': 'Case_15f86e', 'case': 'case_bbfcd4'}
    """
    same = str.casefold if clean is safe_file_name else str
    cleaned = {name: clean(name) for name in names}
    count = Counter(same(short) for short in cleaned.values())
    unchanged = Counter(same(short) for name, short in cleaned.items() if name == short)
    kept = {
        name: short
        for name, short in cleaned.items()
        if len(short) <= _LONGEST_TAG and (count[same(short)] == 1 or (name == short and unchanged[same(short)] == 1))
    }
    taken = {same(short) for short in kept.values()}
    for name in sorted(cleaned.keys() - kept.keys()):
        digest = name.encode("utf-8", "surrogatepass")
        while True:  # a name may look like one with the digest of another
            digest = sha256(digest).digest()
            told_apart = f"{cleaned[name][:_LONGEST_TAG]}_{digest.hex()[:6]}"
            if same(told_apart) not in taken:
                break
        kept[name] = told_apart
        taken.add(same(told_apart))
    return {name: kept[name] for name in cleaned}


def safe_file_name(name: str) -> str:
    """Return a file name that every system allows: A-Z a-z 0-9 . _ - only, 1 to 100 characters, no leading dot.

    Two names may have the same one; who writes files of many names adds what tells them apart.

    Examples:
        >>> [safe_file_name(name) for name in ("model.layers.0.mlp", "../../x", "", "nul.up")]
        ['model.layers.0.mlp', 'x', 'unnamed', '_nul.up']
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    safe = re.sub(r"\.{2,}", ".", safe).strip("._")
    safe = safe[:_LONGEST_FILE_NAME].rstrip("._") or "unnamed"
    return f"_{safe}" if _DEVICE.match(safe) else safe


def legal_folder_name(name: str) -> str:
    """Return a folder name as near to a name as every system allows: letters of all scripts and blanks stay.

    Examples:
        >>> legal_folder_name("Модель 7B"), legal_folder_name("a:b?.."), legal_folder_name("con")
        ('Модель 7B', 'a_b_', '_con')
    """
    legal = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in name)
    legal = legal.encode()[: 2 * _LONGEST_FILE_NAME].decode(errors="ignore").rstrip(". ").lstrip(" ") or "unnamed"
    return f"_{legal}" if _DEVICE.match(legal) else legal


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code and int(code, 16) < 0x110000 else "\\" if not code else found[0]
