import sys
from collections.abc import Callable
from importlib.metadata import metadata
from pathlib import Path

import pytest
from alpha_integrations.quantizers.model_folder import whole_folder

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.write_model import Rounding, write_model
from alpha_callbacks.utils import plugins
from tests.support.plan_examples import plan_of

PLANS = {
    "compressed-tensors": plan_of({"fc": "int8"}),
    "torchao": plan_of({"fc": "int8"}),
    "gguf": plan_of({"blk.0.ffn_up": "bf16"}),
}


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"target: expected one of compressed-tensors, gguf, torchao, got 'onnx'"):
        write_model(tmp_path, PLANS["torchao"], tmp_path / "out", "onnx")


@pytest.mark.parametrize("target", PLANS)
@pytest.mark.parametrize("make", [lambda path: (path.mkdir(), (path / "x").touch()), lambda path: path.touch()])
def test_nothing_is_written_over(target: str, make: Callable[[Path], object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out)
    with pytest.raises(PlanError, match=r"output_dir .*out: expected a new or empty folder, got one that is not"):
        write_model(tmp_path, PLANS[target], out, target)


def test_the_writer_gets_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def writer(model: Path, plan: Plan, output_dir: Path) -> tuple[str, ...]:
        return (str(model), str(len(plan.choices)), str(output_dir))

    monkeypatch.setattr(plugins, "names", lambda group: ["mine"])
    monkeypatch.setattr(plugins, "load", lambda group, name, **_: writer)
    notes = write_model(str(tmp_path), PLANS["torchao"], str(tmp_path / "out"), "mine")
    assert notes == (str(tmp_path), "1", str(tmp_path / "out"))


def test_a_writer_of_another_package_is_not_given_a_rounding_that_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").touch()
    way = Rounding("gptq", tmp_path / "text")
    monkeypatch.setattr(plugins, "names", lambda group: ["mine"])
    monkeypatch.setattr(plugins, "load", lambda group, name, **_: lambda model, plan, output_dir: ())
    with pytest.raises(PlanError, match="mine: expected another --rounding than gptq: it rounds to nearest only"):
        write_model(tmp_path, PLANS["torchao"], tmp_path / "out", "mine", rounding=way)
    monkeypatch.setattr(plugins, "load", lambda *_, **__: lambda model, plan, output_dir, rounding: (rounding.method,))
    assert write_model(tmp_path, PLANS["torchao"], tmp_path / "out", "mine", rounding=way) == ("gptq",)


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with pytest.raises(ZeroDivisionError), whole_folder(out) as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert list(out.parent.iterdir()) == []
    out.mkdir()  # an empty folder will do
    with whole_folder(out) as folder:
        (folder / "whole").touch()
        assert not list(out.iterdir())
    assert [path.name for path in out.iterdir()] == ["whole"] and [path.name for path in out.parent.iterdir()] == [
        "out"
    ]


@pytest.mark.parametrize(
    ("target", "package", "extra"),
    [
        ("compressed-tensors", "compressed_tensors.compressors", "quantize"),
        ("compressed-tensors", "transformers", "quantize"),
        ("torchao", "torchao.core.config", "torchao"),
        ("torchao", "transformers", "torchao"),
        ("gguf", "gguf", "gguf"),
    ],
)
def test_a_missing_package_names_its_extra(
    target: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if target != "gguf":
        pytest.importorskip(target.replace("-", "_"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'pip install -c constraints.txt "\.\[{extra}\]"') as caught:
        write_model(tmp_path, PLANS[target], tmp_path / "out", target)
    assert caught.value.extra in metadata("alpha-callbacks").get_all("Provides-Extra", [])
    assert list(tmp_path.iterdir()) == []
