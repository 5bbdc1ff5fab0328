"""What the tensors of a GGUF model are: their orientation, what is fused in them, the head that shares the embedding.

llama.cpp's names fix the layout of a tensor, whatever the model family: its converter rearranges what a family stores
in another way. Nothing is guessed from sizes here; where the metadata does not explain a size, a tensor stays whole.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from alpha_callbacks.checkpoints.gguf_header import GgufHeader, GgufTensor
from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.fused_layouts import Part, split_halves, split_qkv_sizes, split_thirds
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.weight import RowReader
from alpha_integrations.checkpoints.gguf_rows import GgufRows
from alpha_integrations.checkpoints.gguf_types import PLAIN, type_of, why_not

EMBEDDING, HEAD = "token_embd.weight", "output.weight"
_STACK = re.compile(r"(_|_ch)exps\.weight$|(^|\.)(altup_proj|altup_unembd_proj|time_mix_w2)\.weight$")
_COEFFICIENTS = re.compile(r"\.time_mix_(lerp_\w+|first|r_k)\.weight$")
_LORA = re.compile(r"\.lora_[ab]$")
_QKV = re.compile(r"^blk\.(\d+)\.(vis_)?attn_qkv\.weight$")
_UP = re.compile(r"^blk\.(\d+)\.ffn_up\.weight$")
# Architectures without a language head; any other uses the embedding where its file has no head.
_NO_HEAD = {
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "t5encoder", "gemma-embedding", "llama-embed", "wavtokenizer-dec", "clip",
}  # fmt: skip


@dataclass(frozen=True)
class GgufModel:
    """The headers of all files of a model.

    Attributes:
        about: metadata of the model, which only the first file of a split one has.
        places: tensor name -> header of its file, and its entry there.
    """

    about: Mapping[str, Any]
    places: Mapping[str, tuple[GgufHeader, GgufTensor]]

    @property
    def architecture(self) -> str:
        """What llama.cpp calls the family ("llama"), or "" where the file does not say."""
        return str(self.about.get("general.architecture", ""))

    def number(self, key: str, block: int) -> int:
        """Return a number of the architecture, for one block where blocks differ; 0 where the file does not say."""
        value = self.about.get(f"{self.architecture}.{key}", 0)
        if isinstance(value, list):
            value = value[block] if block < len(value) else 0
        return value if isinstance(value, int) else 0

    def tensors(self) -> list[StoredTensor]:
        """Return all tensors."""
        return [self._stored(header, tensor) for header, tensor in self.places.values()]

    def has_tied_head(self) -> bool:
        """Return True for a language model without a head of its own, for which llama.cpp takes the embedding.

        False for encoders, and for files that say how they pool (embeddings) or hold a classifier (rerankers).
        """
        classifier = any(name.startswith("cls.") for name in self.places)
        headless = not self.architecture or self.architecture in _NO_HEAD
        headless = headless or classifier or self.number("pooling_type", 0) > 0
        return EMBEDDING in self.places and HEAD not in self.places and not headless

    def _stored(self, header: GgufHeader, tensor: GgufTensor) -> StoredTensor:
        kind, shape = type_of(tensor.kind), self._shape(tensor)
        turned, rows_of_heads = tensor.name.endswith(".attn_k_b.weight"), tensor.name.endswith(".attn_v_b.weight")
        if len(shape) == 3 and rows_of_heads:  # (heads, features, rank)
            shape = (shape[0] * shape[1], shape[2])
        rows = GgufRows(header.file, tensor.offset, kind, shape, header.big_endian, self._factors(tensor))
        read: RowReader = rows.read
        if len(shape) == 3 and turned:  # (heads, rank, features): ready for a product from the other side
            heads, rank, features = shape
            read, shape = partial(_turned_heads, read, features), (heads * features, rank)
        is_stack = len(shape) == 3 and _STACK.search(tensor.name) is not None
        is_linear = len(shape) == 2 and tensor.name.endswith(".weight") and categorize(tensor.name[:-7]) != "embedding"
        return StoredTensor(
            name=tensor.name,
            shape=shape,
            dtype=kind.dtype,
            stored_dtype=kind.name,
            read=read,
            kind="stack" if is_stack else "linear" if is_linear else "unknown",
            packed=why_not(kind, header.big_endian),
            companion=self._companion(tensor),
            parts=self._parts(tensor.name, shape),
        )

    def _shape(self, tensor: GgufTensor) -> tuple[int, ...]:
        """Return the shape of a tensor; ComfyUI-GGUF keeps it beside one whose rows are no whole blocks."""
        original = self.about.get(f"comfy.gguf.orig_shape.{tensor.name}")
        whole = isinstance(original, list) and all(isinstance(size, int) and size > 0 for size in original)
        sizes = original if whole else ()
        if sizes and math.prod(sizes) == math.prod(tensor.shape):
            return tuple(sizes)
        return tensor.shape

    def _scales(self, tensor: GgufTensor) -> tuple[GgufHeader, GgufTensor] | None:
        """Return what llama.cpp multiplies the product with a matrix by: of NVFP4, or per tensor."""
        name = tensor.name.removesuffix(".weight").replace("ffn_gate_up_exps", "ffn_up_exps")  # fused: those of up
        found = self.places.get(f"{name}.scale") if tensor.name.endswith(".weight") else None
        if found is None or type_of(found[1].kind).name not in PLAIN:
            return None
        one_each = type_of(tensor.kind).name == "NVFP4" and found[1].shape == tensor.shape[:1]
        return found if math.prod(found[1].shape) == 1 or one_each else None

    def _factors(self, tensor: GgufTensor) -> Tensor | None:
        found = self._scales(tensor)
        if found is None:
            return None
        header, scales = found
        shape = (math.prod(scales.shape),)
        return GgufRows(header.file, scales.offset, type_of(scales.kind), shape, header.big_endian).read(0, *shape)

    def _companion(self, tensor: GgufTensor) -> str:
        """Return why a tensor is never a matrix of its own, or an empty string."""
        layer = layer_name_of(tensor.name)
        if layer.endswith(".scale") and (matrix := self.places.get(f"{layer.removesuffix('.scale')}.weight")):
            return f"scales of {layer.removesuffix('.scale')}" if self._scales(matrix[1]) else ""
        if _LORA.search(tensor.name):
            return "low-rank adapter factor, not a weight by itself"
        if _COEFFICIENTS.search(tensor.name):
            return "coefficients of channels, not a matrix"
        if len(tensor.shape) > 2 and categorize(layer) == "embedding":
            return f"{len(tensor.shape)}-D embedding, not a matrix"
        return ""

    def _parts(self, name: str, shape: tuple[int, ...]) -> tuple[Part, ...]:
        """Return what is fused in a tensor."""
        if name.endswith(".ffn_gate_up_exps.weight") and len(shape) == 3:
            return split_halves(shape[1], "moe_expert")
        if len(shape) != 2:
            return ()
        if name.startswith("v.blk.") and name.endswith(".attn_qkv.weight") and shape[0] % 3 == 0:
            return split_thirds(shape[0])
        if match := _QKV.match(name):
            return self._qkv(int(match[1]), shape[0])
        if match := _UP.match(name):  # gate and up in one: llama.cpp knows by the size, which its metadata gives
            gated = f"blk.{match[1]}.ffn_gate.weight" not in self.places
            wide = shape[0] == 2 * self.number("feed_forward_length", int(match[1]))
            return split_halves(shape[0], "mlp") if gated and wide else ()
        return ()

    def _qkv(self, block: int, out_features: int) -> tuple[Part, ...]:
        """Return q, k and v of attention, or of linear attention; () where the metadata does not tell."""
        heads = self.number("attention.head_count", block)
        kv_heads = self.number("attention.head_count_kv", block) or heads
        size = self.number("embedding_length", block) // heads if heads else 0
        k_size = self.number("attention.key_length", block) or size
        v_size = self.number("attention.value_length", block) or size
        known = {(heads * k_size, kv_heads * k_size, kv_heads * v_size)}
        if any(name.startswith(f"blk.{block}.ssm_") for name in self.places):  # of this block, or beside attention
            keys = self.number("ssm.state_size", block) * self.number("ssm.group_count", block)
            known.add((keys, keys, self.number("ssm.inner_size", block)))
        sizes = [each for each in known if all(each) and sum(each) == out_features]
        return split_qkv_sizes(*sizes[0]) if len(sizes) == 1 else ()


def _turned_heads(read: RowReader, features: int, start: int, stop: int) -> Tensor:
    """Return rows start..stop of the heads' matrices, each (rank, features) as stored, turned and put together."""
    first, last = start // features, -(-stop // features)
    rows = read(first, last).transpose(1, 2).flatten(0, 1)
    return rows[start - first * features : stop - first * features]
