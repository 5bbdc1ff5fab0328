"""The tiny Llama that ships with the package as a GGUF file, as the converter of llama.cpp would write it."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from alpha_callbacks.checkpoints.locate import EMBEDDED


def write_tiny_gguf(path: Path, *, tied: bool = False, more: Mapping[str, np.ndarray] | None = None) -> Path:
    """Write the file in fp32 and return its path; without a head of its own if `tied`, with more tensors first."""
    import gguf

    config = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((EMBEDDED / "tokenizer.json").read_text(encoding="utf-8"))
    blocks, heads, kv_heads = (
        config[f"num_{what}"] for what in ("hidden_layers", "attention_heads", "key_value_heads")
    )
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["id"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
    kinds = (gguf.TokenType.NORMAL, gguf.TokenType.CONTROL)
    writer.add_token_types([kinds[i in special] for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    for name, values in (more or {}).items():
        writer.add_tensor(name, values)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, blocks)
    for name, tensor in load_file(EMBEDDED / "model.safetensors").items():
        if tied and name == "lm_head.weight":
            continue
        weight = tensor.float().numpy()
        if ".q_proj." in name or ".k_proj." in name:
            weight = _by_pairs(weight, heads if ".q_proj." in name else kv_heads)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _by_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Put the two halves that a rotation mixes side by side, as llama.cpp stores queries and keys."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.asarray(halves.swapaxes(1, 2).reshape(weight.shape))
