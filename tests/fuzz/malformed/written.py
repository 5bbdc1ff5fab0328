"""What the commands themselves wrote, malformed: results, plans, histories, journals."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.malformed.case import ODD, Case, both, one_file, sound


def results() -> Iterator[Case]:
    """What a scan, a run or a plan left."""
    table, history, plan = (
        sound("results_csv/scan").decode(),
        sound("history_csv/monitor").decode(),
        sound("plan_json/scan"),
    )
    lines = table.split("\n")

    def cells(place: int, value: str) -> str:
        row = lines[1].split(",")
        return "\n".join([lines[0], ",".join([*row[:place], value, *row[place + 1 :]]), *lines[2:]])

    whole = {
        "empty": "",
        "header": lines[0] + "\n",
        "no-columns": "a,b\n1,2\n",
        "twice": table + lines[1] + "\n",
        "cut": table[:-40],
        "nul": table + "\0",
        "no-utf8": table.replace("model", "mod\udcff"),
        "one-cell": table + "x\n",
        "quote": table + '"',
        "bom": "\ufeff" + table,
        "huge-cell": cells(0, "x" * 200_000),
        "utf16": table.encode("utf-16").decode("latin-1"),
        "column-twice": lines[0] + "," + lines[0] + "\n" + lines[1] + "," + lines[1],
        "precision": table.replace("int8", "int99"),
    }
    values = ("inf", "-1", "1e308", "nan", "x", "9" * 5000, "", "=1+1")
    odd = {
        f"{lines[0].split(',')[p]}-{v[:5]}": cells(p, v)
        for p in (2, 4, 5, 6, 12, 16, 20, 30, 40)
        for v in values[p % 2 :: 2]
    }
    for name, text in {**whole, **odd}.items():
        for command in ("report", "recommend") if name in whole else ("report",):
            content = text.encode("utf-8", "surrogateescape")
            yield Case(
                f"results-{command}-{name}", one_file("precision_alpha_hill_results.csv", content), (command, "{}")
            )
    for name, text in {
        "empty": "",
        "header": history.split("\n")[0],
        "cut": history[:-30],
        "precision": history.replace("fp32", "fp99"),
        "no-columns": "a,b\n1,2\n",
        "twice": history + history.split("\n", 1)[1],
        "letters": history.replace(",0,", ",x,"),
        "no-utf8": history.replace("up", "u\udcff"),
        "quote": history + '"\n',
        "nul": history + "\0\n",
        "digits": history + "9" * 5000 + "\n",
        "inf": history.replace("fp32,", "fp32,inf,"),
    }.items():
        content = text.encode("utf-8", "surrogateescape")
        yield Case(f"history-{name}", one_file("alpha_hill_history.csv", content), ("history", "{}"))
    export = ("export", "{}/plan.json", "--model", "{}", "--format", "layer-config", "-o", "{}/x.json")
    content = json.loads(plan)
    plans: dict[str, Any] = {
        f"{key}-{i}": {**content, key: value}
        for key in ("layers", "settings", "policy", "version")
        for i, value in enumerate(ODD[::3])
    }
    layer = content["layers"][0]
    plans |= {
        f"{key}-{i}": {**content, "layers": [{**layer, key: value}]}
        for key in layer
        for i, value in enumerate(ODD[1::5])
    }
    plans |= {
        "default": {"default": 5, "overrides": []},
        "overrides": {"default": {}, "overrides": [5]},
        "list": [],
        "pattern": {"default": {"wq": "int4"}, "overrides": [{"pattern": "[" * 5000, "wq": "int8"}]},
    }
    for name, value in plans.items():
        yield Case(
            f"plan-{name}",
            both(one_file("plan.json", json.dumps(value)), one_file("model.safetensors", sound("safetensors/plain"))),
            export,
        )
    for name, data in {
        "empty": b"",
        "no-utf8": b"\xff",
        "deep": b"[" * 200_000,
        "digits": b"9" * 5000,
        "cut": plan[:100],
    }.items():
        yield Case(f"plan-{name}", one_file("plan.json", data), export)


def journals() -> Iterator[Case]:
    """Journals that are taken up or merged."""
    header, *rest = sound("journal/scan").split(b"\n")
    changes = {
        "empty": b"",
        "newline": b"\n",
        "list": b"[]\n",
        "number": b"5\n",
        "null": b"null\n",
        "deep": b"[" * 200_000 + b"\n",
        "no-utf8": b"\xff\xfe\n",
        "header-only": header + b"\n",
        "header-cut": header[:50] + b"\n" + b"\n".join(rest),
        "flipped": b"\n".join([header, rest[0].replace(b"1", b"3"), *rest[1:]]),
        "short": b"\n".join([header, rest[0][:100], *rest[1:]]),
        "zeros": header + b"\n" + bytes(5000) + b"\n",
    }
    for name, data in changes.items():
        place = Path("out", "journal", "rank-0.jsonl")
        good = one_file("model.safetensors", sound("safetensors/plain"))

        def write(folder: Path, data: bytes = data, place: Path = place, good: Callable[[Path], object] = good) -> None:
            good(folder)
            (folder / place).parent.mkdir(parents=True)
            (folder / place).write_bytes(data)

        yield Case(f"journal-scan-{name}", write, ("scan", "{}"))
        yield Case(f"journal-merge-{name}", write, ("merge", "{}/out", "-o", "{}/merged"))
