"""Write the sound files that fuzzing begins with: `python -m tests.fuzz.make_corpus`. Some kilobytes each, by format.

Files named `found-*` are inputs that once fell; they are kept and not made here.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

CORPUS = Path(__file__).parent / "corpus"
_LLAMA = {
    "model_type": "phi3",
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 12,
    "architectures": ["Phi3ForCausalLM"],
    "text_config": {"hidden_size": 16},
    "tie_word_embeddings": True,
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return Gaussian numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights() -> dict[str, Tensor]:
    """Return the state dict of a very small model."""
    return {
        "model.layers.0.self_attn.q_proj.weight": noise(16, 16),
        "model.layers.0.mlp.down_proj.weight": noise(16, 12, seed=1).bfloat16(),
        "model.norm.weight": torch.ones(16),
    }


def fused() -> dict[str, Tensor]:
    """Return layers that a config says how to split."""
    return {
        "model.layers.0.self_attn.qkv_proj.weight": noise(32, 16),
        "model.layers.0.mlp.gate_up_proj.weight": noise(24, 16, seed=1),
        "model.embed_tokens.weight": noise(20, 16, seed=2),
    }


def stored() -> dict[str, tuple[dict[str, Any], dict[str, Tensor]]]:
    """Return method -> (config, tensors) of weights in codes."""
    words, half = torch.randint(0, 2**31 - 1, (4, 32), dtype=torch.int32), noise(2, 32).half()
    name, codes = "model.layers.0.mlp.up_proj", noise(16, 16).to(torch.float8_e4m3fn)
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False, "sym": True}
    fp8 = {"quant_method": "fp8", "weight_block_size": [8, 8], "activation_scheme": "dynamic"}
    scheme = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}
    groups = {"group_0": {"weights": scheme, "targets": ["Linear"]}}
    packed = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": groups, "ignore": []}
    return {
        "gptq": (
            gptq,
            {
                f"{name}.qweight": words,
                f"{name}.qzeros": words[:2, :4].contiguous(),
                f"{name}.scales": half,
                f"{name}.g_idx": (torch.arange(32) // 16).int(),
            },
        ),
        "fp8": (fp8, {f"{name}.weight": codes, f"{name}.weight_scale_inv": torch.ones(2, 2)}),
        "compressed": (packed, {f"{name}.weight": codes, f"{name}.weight_scale": torch.ones(16, 1)}),
        "bitnet": (
            {"quant_method": "bitnet"},
            {
                f"{name}.weight": torch.randint(0, 255, (4, 16), dtype=torch.uint8),
                f"{name}.weight_scale": torch.ones(1),
            },
        ),
    }


def adapter() -> dict[str, Tensor]:
    """Return the factors of a LoRA adapter."""
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    return {f"{name}.lora_A.weight": noise(12, 16), f"{name}.lora_B.weight": noise(16, 12, seed=1)}


def _torch(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _dcp(folder: Path) -> bytes:
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

    save_distributed({"model": weights()}, storage_writer=FileSystemWriter(folder), no_dist=True)
    return (folder / ".metadata").read_bytes()


def _gguf(file: Path, quantized: bool) -> bytes:
    import gguf

    writer = gguf.GGUFWriter(file, "llama")
    writer.add_uint32("llama.embedding_length", 32)
    writer.add_uint32("llama.attention.head_count", 4)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_float32("llama.rope.freq_base", 1.5)
    matrix = noise(16, 32).numpy()
    kind = gguf.GGMLQuantizationType.Q8_0
    values, stored_as = (gguf.quantize(matrix, kind), kind) if quantized else (matrix, None)
    writer.add_tensor("blk.0.ffn_up.weight", values, raw_dtype=stored_as)
    writer.add_tensor("output_norm.weight", np.ones(32, np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return file.read_bytes()


def _results(folder: Path) -> dict[str, bytes]:
    """Return what a scan leaves, by format."""
    from safetensors.torch import save_file

    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.planning.plan import Choice, Plan
    from alpha_callbacks.planning.plan_json import plan_text
    from alpha_callbacks.scanning.scan import scan

    save_file(weights(), folder / "model.safetensors")
    options = AnalysisOptions(precisions=("bf16", "int8"))
    scan(folder, output_dir=folder / "out", options=options, report=False, threads=1)
    choices = tuple(Choice(f"layers.{i}.mlp", "other", 16, 12, p) for i, p in enumerate(("bf16", "int4")))
    spectra = next((folder / "out" / "spectra").glob("*down_proj*.npz"))
    return {
        "results_csv": (folder / "out" / "precision_alpha_hill_results.csv").read_bytes(),
        "coverage_csv": (folder / "out" / "coverage.csv").read_bytes(),
        "run_json": (folder / "out" / "run.json").read_bytes(),
        "journal": (folder / "out" / "journal" / "rank-0.jsonl").read_bytes(),
        "spectra": spectra.read_bytes(),
        "plan_json": plan_text(Plan(choices, "measured", {"avg_bits": 4}, "model")).encode(),
    }


def _history(folder: Path) -> bytes:
    from alpha_callbacks import AnalysisOptions, Monitor

    with Monitor(AnalysisOptions(precisions=("fp32",)), sinks=["csv"], output_dir=folder) as monitor:
        model = torch.nn.ModuleDict({"up": torch.nn.Linear(16, 16)})
        for step in range(2):
            monitor.log(model, step)
    return (folder / "alpha_hill_history.csv").read_bytes()


def _hf_shard() -> bytes:
    offsets = {name: {"saved_offsets": [0] * tensor.ndim} for name, tensor in weights().items()}
    return save(weights(), metadata={"DCP_SHARDING_INFO": json.dumps(offsets)})


def corpus(folder: Path) -> Mapping[str, Mapping[str, bytes]]:
    """Return format -> name -> bytes.

    Args:
        folder: empty, for drafts.
    """
    parts = {name: folder / name for name in ("scan", "dcp", "history")}
    for part in parts.values():
        part.mkdir()
    nested = {"state_dict": weights(), "epoch": 3, "hyper_parameters": {"lr": 0.1}}
    methods = stored()
    scanned = _results(parts["scan"])
    pipeline = {"_class_name": "Pipeline", "unet": ["diffusers", "UNet"], "tokenizer": ["transformers", "T"]}
    peft = {
        "peft_type": "LORA",
        "r": 12,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": "b",
        "rank_pattern": {},
        "alpha_pattern": {"q_proj": 4},
        "use_rslora": False,
        "fan_in_fan_out": False,
    }
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights(), "s.safetensors")}
    sentences = [{"idx": 0, "name": "0", "path": "", "type": "Transformer"}, {"idx": 1, "path": "1_Dense"}]
    return {
        "safetensors": {"plain": save(weights(), metadata={"format": "pt"}), "fused": save(fused())},
        "torch_zip": {"plain": _torch(weights()), "nested": _torch(nested)},
        "torch_legacy": {"plain": _torch(weights(), _use_new_zipfile_serialization=False)},
        "dcp": {"metadata": _dcp(parts["dcp"])},
        "dcp_data": {"data": (parts["dcp"] / "__0_0.distcp").read_bytes()},
        "hf_shards": {"shard": _hf_shard()},
        "gguf": {"plain": _gguf(folder / "a.gguf", False), "q8": _gguf(folder / "b.gguf", True)},
        "index_json": {"index": json.dumps(index).encode()},
        "config_json": {"phi": json.dumps(_LLAMA).encode()},
        "quantization_config": {n: json.dumps({"quantization_config": c}).encode() for n, (c, _) in methods.items()},
        "stored_codes": {n: save(tensors) for n, (_, tensors) in methods.items()},
        "adapter_config": {"lora": json.dumps(peft).encode()},
        "adapter_weights": {"lora": save(adapter())},
        "model_index": {"pipeline": json.dumps(pipeline).encode()},
        "modules": {"sentences": json.dumps(sentences).encode()},
        **{name: {"scan": content} for name, content in scanned.items()},
        "history_csv": {"monitor": _history(parts["history"])},
    }


def main() -> None:
    """Write the corpus."""
    with TemporaryDirectory() as drafts:
        for kind, files in corpus(Path(drafts)).items():
            (CORPUS / kind).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (CORPUS / kind / name).write_bytes(content)


if __name__ == "__main__":
    main()
