"""Names of layers as an adversary, a careless exporter or another alphabet writes them."""

ESC, C1 = "\x1b", "\x9b"

TERMINAL = (
    f"red{ESC}[31mRED", f"title{ESC}]0;owned\x07", f"clear{ESC}[2J", f"home{ESC}[H",
    f"clipboard{ESC}]52;c;cHduZWQ=\x07", f"clipboard by ST{ESC}]52;p;cHduZWQ={ESC}\\",
    f"link{ESC}]8;;http://evil.example{ESC}\\click", f"hide{ESC}[8m", f"DCS{ESC}P+q544e{ESC}\\", f"APC{ESC}_x{ESC}\\",
    f"reset{ESC}c", f"report{ESC}[6n", f"scroll{ESC}[r", f"alternate screen{ESC}[?1049h", f"mouse{ESC}[?1000h",
    f"C1 color{C1}31mX", "C1 OSC\x9d0;x\x9c", "bell\x07", "back\x08\x08\x08over", "delete\x7f", "over\rwritten",
    "new\nline", "CRLF\r\nnext", "vertical\x0btab", "form\x0cfeed", "next\x85line", "tab\there", "unit\x1fseparator",
    "substitute\x1a", "shift\x0eout",
)  # fmt: skip
UNSEEN = (
    "line\u2028separator", "paragraph\u2029separator", "rtl\u202egnp.exe", "lro\u202dx", "rle\u202bx",
    "pdf\u202cx", "lri\u2066x", "rli\u2067x", "fsi\u2068x", "pdi\u2069x", "lrm\u200ex", "rlm\u200fx", "alm\u061cx",
    "zero\u200bwidth", "joiner\u200dx", "non\u200cjoiner", "bom\ufeffx", "soft\xadhyphen", "word\u2060joiner",
    "tag\U000e0041x", "hard\xa0blank", "wide\u3000blank", "filler\u3164x", "private\ue000x", "nonchar\ufffex",
    "unassigned\U000e1fffx", "variation\ufe0fx", "interlinear\ufff9x", "invisible\u2062times",
)  # fmt: skip
FORMULAS = (
    "=1+1", "=cmd|'/C calc'!A0", '=HYPERLINK("http://evil.example","click")', '=WEBSERVICE("http://evil.example")',
    "@SUM(1+1)", "+1+1", "-2+3", "-2+3+cmd|' /C calc'!A0", "'=1+1", "''=1+1", "'", "a;=1+1", "a; =1+1", "a\t=1+1",
    "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(1)", '"=1+1"', '",=1+1,"',
    "%0A=1+1", "-5", "1e5", "+7.5", "nan", "NA", "null", "TRUE", "1-2", "0x10", "a,b", 'quote"d', '""',
    "a\\x1bb", "\\", "\\\\", "a\\u202eb", "C:\\new\\x41",
)  # fmt: skip
MARKUP = (
    "<script>window.hit=1</script>", "</script><img src=x onerror=window.hit=1>", "<svg onload=window.hit=1>", "<!--",
    "-->", "]]>", '" onmouseover="window.hit=1', "' onclick='window.hit=1", "<a href='javascript:window.hit=1'>x</a>",
    "javascript:window.hit=1", "&lt;b&gt;", "&#60;", "{{7*7}}", "{% raw %}", "${7*7}`", "`id`", "$(id)", "%s%n", "{0}",
    "%{y}", "<extra></extra>", "<b>bold</b>", "<style>*{display:none}</style>", "[bold red]markup[/bold red]", "[/]",
    "[link=http://evil.example]x[/link]", ":skull:", "|cell|", "**bold**", "__init__", "# head",
    "![x](http://evil.example/x.png)", "$\\frac{x", "$_{", "_hidden", "a|b",
)  # fmt: skip
PLACES = (
    "../../../../../.../escaped", "/etc/cron.d/x", "..", "a/../b", "a\\..\\b", "C:\\x", "~/x", "a:b", "a*b?", "CON",
    "nul", "com1.txt", "LPT9", "aux ", "dot.", "x" * 10_000, "y" * 300+"A", "y" * 300+"B", "é" * 200, "e\u0301" * 100,
    "Case", "case", "\u00e9", "e\u0301", "\u0430bc", "abc", "slash/x", "slash_x", "a b", "a_b", "a-b", "a__b", "слой",
    "層", "🙂", "👩\u200d👩\u200d👧", "ＡＢＣ", "شبكة",
)  # fmt: skip
OBJECTS = (
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "prototype",
    "length",
    "undefined",
    "None",
    "self",
    "index",
)

NAMES = (*TERMINAL, *UNSEEN, *FORMULAS, *MARKUP, *PLACES, *OBJECTS)
# Only live modules can have these: no file that a scan reads holds them.
LIVE_ONLY = ("high\ud800x", "low\udc80x", "=\udfff", "nul\x00x", "=\x001+1")
