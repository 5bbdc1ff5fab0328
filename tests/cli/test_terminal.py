"""What the commands print, in every encoding."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alpha_callbacks.cli.terminal import console, escape, print_in_any_encoding, say
from tests.cli.conftest import Done

EVIL = "model.layers.0.a\x1b]52;c;cHduZWQ=\x07\x1b[2J\x9b31m\u202e\r\n:skull:[red]\ud800.up_proj"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1252"])
def test_nothing_that_is_printed_fails(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, newline=""))
    print_in_any_encoding()
    console().print(f"• {escape(EVIL)} … é слой ±")
    say(EVIL)
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    assert shown.count("\n") == 2 and not {"\x1b", "\x9b", "\x07", "\r", "\u202e"} & set(shown)
    assert shown.count(r"\x1b]52;c;cHduZWQ=\x07\x1b[2J\x9b31m\u202e\x0d\x0a:skull:[red]\ud800.up_proj") == 2
    assert ("•" in shown) == (encoding in ("utf-8", "cp1252")) and r"\u" in shown


@pytest.mark.parametrize("broken", [False, True])
def test_commands_show_hostile_names(alpha_hill: Callable[..., Done], tmp_path: Path, broken: bool) -> None:
    matrix = torch.full((32, 32), float("nan")) if broken else torch.randn(32, 32) * torch.logspace(0, -1, 32)
    name = EVIL.replace("\ud800", "")  # safetensors holds no lone surrogate
    save_file({f"{name}.weight": matrix}, tmp_path / "m\x1b[31m.safetensors")
    done = alpha_hill(
        "scan", tmp_path / "m\x1b[31m.safetensors", "-o", tmp_path / "o\u202e", "--no-plots", "-p", "fp32"
    )
    assert done.code == int(broken)
    for text in (done.out, done.err):
        assert not {"\x1b", "\x9b", "\x07", "\r", "\u202e"} & set(text)
    assert r"]52;c;cHduZWQ=\x07" in done.out.replace("\n", "").replace(" ", "")
    (tmp_path / "bad\x1b[31m.safetensors").write_text("x")
    refused = alpha_hill("scan", tmp_path / "bad\x1b[31m.safetensors", "-o", tmp_path / "x")
    assert refused.code == 2 and r"bad\x1b[31m" in refused.err and "\x1b" not in refused.err
