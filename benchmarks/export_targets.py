r"""Do other libraries read our exports as they are meant? Their own code decides which layers get which format.

    pip download --no-deps auto-round==0.16.1 gptqmodel==7.7.0 mlx==0.32.4 mlx-cpu==0.32.4 nvidia-modelopt==0.47.0 \
        py-cpuinfo==9.0.0
    (unpack all of them into one folder)
    python -m benchmarks.export_targets --libraries FOLDER

None of them is installed: AutoRound and MLX are imported from the folder, of GPTQModel the functions about `dynamic`
are run (the package needs a GPU stack), of ModelOpt the module that converts the file for vLLM. Each judges a plan of a
Llama of two blocks with formats mixed within categories. Writes export_targets.txt into benchmarks/results.
"""

import argparse
import ast
import importlib
import json
import re
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.export_plan import export_plan
from alpha_callbacks.planning.layer_config import layers_of
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.weights.module_weights import module_inventory

RESULTS = Path(__file__).parent / "results"
FORMATS = {
    "auto-round": ("int4_g32", "int2_g64", "int8_g128", "int3_g32", "int4_g32_asym"),
    "gptqmodel": ("int4_g32", "int2_g64", "int8_g128", "int3_g32", "int4_g32_asym"),
    "mlx": ("int4_g32_asym", "int3_g64_asym", "mxfp4:rceil", "int8_g128_asym", "mxfp8"),
    "modelopt": ("nvfp4", "int8", "fp8", "fp8_e4m3_tensor", "mxfp8"),
}
Read = Callable[[dict[str, Any], torch.nn.Module, Plan, Path], tuple[str, dict[str, str]]]


def small_llama() -> torch.nn.Module:
    """Return a Llama of two blocks with fresh weights, whose columns all formats divide."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, tie_word_embeddings=False, **sizes))  # type: ignore[arg-type]


def plan_for(model: torch.nn.Module, target: str) -> Plan:
    """Return a plan with each format in turn, every fourth layer and the head at 16 bits."""
    formats = FORMATS[target]
    choices = [
        replace(c, precision="bf16" if c.category == "lm_head" or i % 4 == 3 else formats[i % len(formats)])
        for i, c in enumerate(layers_of(module_inventory(model, AnalysisOptions()).weights))
    ]
    return Plan(tuple(choices))


def auto_round(config: dict[str, Any], model: torch.nn.Module, plan: Plan, folder: Path) -> tuple[str, dict[str, str]]:
    """Resolve a layer_config as AutoRound does before it quantizes."""
    sys.modules.setdefault("datasets", MagicMock())  # imported there for calibration, which is not run
    resolver = importlib.import_module("auto_round.compressors.layer_config_resolver")
    contracts = importlib.import_module("auto_round.compressors.config_resolution.contracts")
    schemes = importlib.import_module("auto_round.schemes")
    scheme = contracts.ResolvedScheme.from_scheme(schemes.preset_name_to_scheme("W4A16"), "W4A16")
    found = resolver.resolve_layer_config(model=model, scheme=scheme, layer_config=config)
    return _version(folder, "auto_round"), {
        name: f"int{entry['bits']} g{entry['group_size']} {'sym' if entry['sym'] else 'asym'}"
        for name, entry in found.items()
        if entry["bits"] < 16
    }


def gptqmodel(config: dict[str, Any], model: torch.nn.Module, plan: Plan, folder: Path) -> tuple[str, dict[str, str]]:
    """Look names up in `dynamic` with GPTQModel's own functions."""
    root = next(folder.glob("gptqmodel-*"))
    tree = ast.parse((root / "gptqmodel/quantization/config.py").read_text())
    of_dynamic = re.compile("dynamic|_BoundedLRU|literal_regex|Tracked")
    wanted = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef | ast.ClassDef) and of_dynamic.search(node.name))
        or (isinstance(node, ast.Assign) and "DYNAMIC" in ast.unparse(node.targets[0]).upper())
    ]
    names: dict[str, Any] = {"pcre": re, "torch": torch}
    prelude = "import copy, hashlib, json, math, threading, weakref\nfrom collections import OrderedDict\n"
    prelude += "from collections.abc import Mapping\nfrom typing import *\nfrom enum import Enum\n"
    exec(prelude, names)
    for node in wanted:
        exec(compile(ast.Module([node], []), "config.py", "exec"), names)
    found = {}
    for name in (choice.layer_name for choice in plan.choices if choice.category != "lm_head"):  # left out by default
        override = names["_resolve_dynamic_override"](config["dynamic"], name)
        if override is not False:
            entry = {**config, **(override or {})}
            found[name] = f"int{entry['bits']} g{entry['group_size']} {'sym' if entry['sym'] else 'asym'}"
    return root.name.removeprefix("gptqmodel-"), found


def mlx(config: dict[str, Any], model: torch.nn.Module, plan: Plan, folder: Path) -> tuple[str, dict[str, str]]:
    """Quantize a model of MLX with the same paths as its converter does."""
    nn = importlib.import_module("mlx.nn")
    twin = _mlx_tree(nn, {c.layer_name: (c.out_features, c.in_features) for c in plan.choices})
    settings = config["quantization"]
    base = {key: settings[key] for key in ("group_size", "bits", "mode")}
    predicate = lambda path, module: hasattr(module, "to_quantized") and settings.get(path, False)  # noqa: E731
    nn.quantize(twin, **base, class_predicate=predicate)
    return _version(folder, "mlx"), {
        path: f"{module.mode} {module.bits} g{module.group_size}"
        for path, module in twin.named_modules()
        if type(module).__name__ == "QuantizedLinear"
    }


def _mlx_tree(nn: Any, shapes: Mapping[str, tuple[int, int]]) -> Any:
    root = nn.Module()
    for name, (rows, columns) in shapes.items():
        parent = root
        *path, last = name.split(".")
        for part in path:
            if part not in parent:
                parent[part] = nn.Module()
            parent = parent[part]
        parent[last] = nn.Linear(columns, rows, bias=False)
    return root


def modelopt(config: dict[str, Any], model: torch.nn.Module, plan: Plan, folder: Path) -> tuple[str, dict[str, str]]:
    """Convert the file to the groups that vLLM reads, with ModelOpt's own function."""
    module = runpy.run_path(str(folder / "modelopt/torch/export/convert_hf_config.py"))
    converted = module["convert_hf_quant_config_format"](config)
    names: dict[str, str] = {}
    for group in converted["config_groups"].values():
        weights = group.get("weights", group)
        for name in group["targets"]:
            names[name] = " ".join(
                f"{key} {weights[key]}" for key in ("quant_algo", "type", "num_bits", "group_size") if key in weights
            )
    assert set(converted["ignore"]) == {c.layer_name for c in plan.choices if not c.low_bit}
    return _version(folder, "nvidia_modelopt"), names


READERS: Mapping[str, Read] = {"auto-round": auto_round, "gptqmodel": gptqmodel, "mlx": mlx, "modelopt": modelopt}


def _version(folder: Path, package: str) -> str:
    return next(folder.glob(f"{package}-*.dist-info")).name.removesuffix(".dist-info").split("-")[1]


def main() -> None:
    """Judge every target and write what was found."""
    parser = argparse.ArgumentParser(description="Exports read by the libraries that they are for.")
    parser.add_argument("--libraries", type=Path, required=True, help="folder with the unpacked packages")
    folder = parser.parse_args().libraries.resolve()
    sys.path.append(str(folder))
    model = small_llama()
    lines = [
        "$ python -m benchmarks.export_targets",
        "target, version: are those layers quantized that the plan says; each format in the words of the library",
    ]
    for target, read in READERS.items():
        plan = plan_for(model, target)
        export = export_plan(plan, target)
        try:
            version, found = read(json.loads(export.text), model, plan, folder)
        except Exception as error:  # a library that cannot be run here is told, not left out
            lines.append(f"{target}: not run ({type(error).__name__}: {str(error)[:160]})")
            continue
        low = {c.layer_name: c for c in plan.choices if c.low_bit}
        verdict = "the same" if set(found) == set(low) else "OTHER"
        lines.append(f"{target}, {version}: {verdict} {len(found)} of {len(plan.choices)} layers quantized")
        each = {choice.precision: choice.layer_name for choice in low.values()}
        lines += [f"  {precision:18} {found.get(name, 'NOT QUANTIZED')}" for precision, name in each.items()]
    print("\n".join(lines))
    (RESULTS / "export_targets.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
