"""What lies beside the weights: config.json, and what quantizers and PEFT say in files of their own."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alpha_callbacks.checkpoints.checkpoint import ADAPTER_CONFIG
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.json_text import read_json
from alpha_callbacks.utils.regular_files import reason_of

# Beside a config.json that says nothing: file -> the quantizer that writes it, unless it names another.
QUANTIZER_CONFIGS = {
    "hf_quant_config.json": "modelopt",
    "quantize_config.json": "gptq",  # AutoGPTQ
    "quant_config.json": "awq",  # AutoAWQ
    "quantization_config.json": "auto-round",
}


def config_of(read: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what lies beside the weights: config.json, with what quantizers and PEFT say in files of their own.

    Args:
        read: file name -> the JSON object in it, empty where there is none.
    """
    config, adapter = dict(read("config.json")), read("adapter_config.json")
    for name, method in QUANTIZER_CONFIGS.items():
        if "quantization_config" not in config and (said := read(name)):
            inner = said.get("quantization", {}) if method == "modelopt" else said
            config["quantization_config"] = {"quant_method": method, **(inner if isinstance(inner, dict) else {})}
    return {**config, **({ADAPTER_CONFIG: adapter} if adapter else {})}


def read_config(file: Path) -> Mapping[str, Any]:
    """Return the JSON object of a file, empty where there is none.

    Raises:
        CheckpointError: damaged, not readable, or a link to nothing, as a broken download leaves; names it.
    """
    if not os.path.lexists(file):
        return {}
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file}: expected JSON, got {reason_of(error)}. Download it again, or remove it."
        ) from error
    return content if isinstance(content, dict) else {}
