"""The language head that a file leaves out because it is the embedding, under the name that the model has for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from alpha_callbacks.weights.families import text_config
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

# Heads that decode what a layer of their own transforms first: end of that layer's path -> end of the head's.
_AFTER_A_TRANSFORM = {
    "predictions.transform.dense": "predictions.decoder",  # BERT and most that follow it
    "lm_head.dense": "lm_head.decoder",  # RoBERTa
    "predictions.dense": "predictions.decoder",  # ALBERT
    "vocab_transform": "vocab_projector",  # DistilBERT
    "generator_predictions.dense": "generator_lm_head",  # ELECTRA
    "head.dense": "decoder",  # ModernBERT, as a masked language model
}
_NAMES = {  # model_type, of the text part too -> name of the head, "lm_head" in all others
    "biogpt": "output_projection",
    "canary": "proj_out",
    "flaubert": "pred_layer.proj",
    "cohere_asr": "proj_out",
    "gpt_neox": "embed_out",
    "gpt_neox_japanese": "embed_out",
    "moonshine": "proj_out",
    "moonshine_streaming": "proj_out",
    "whisper": "proj_out",
    "xlm": "pred_layer.proj",
    "xlnet": "lm_loss",
}
_CAUSAL = (
    "ForCausalLM", "LMHeadModel", "DoubleHeadsModel", "FunnelForMaskedLM", "NeoMMEForMaskedLM",
    "BertGenerationDecoder",
)  # fmt: skip
_OF_TWO = ("EncoderDecoderModel",)  # and SpeechEncoderDecoderModel, VisionEncoderDecoderModel
_CODEBOOK = re.compile(r"^(?P<owner>.*)input_embeds_layers\.(?P<number>[1-9]\d*)$")  # of Bark, one head for each
_NESTED = re.compile(r"^(.*language_model\.)model\.")
_MASKED = (*_CAUSAL, "ForMaskedLM", "ForPreTraining", "ForConditionalGeneration", "BlipForQuestionAnswering")
_SEQUENCE_TO_SEQUENCE = ("ForConditionalGeneration", "ForTextToText", "ForSpeechToText", "MTModel")
_OF_CLASSES = {  # beginning of the class's name -> name of the head
    "BertGenerationDecoder": "lm_head.decoder",
    "Blip2ForConditionalGeneration": "language_model.lm_head",
    "HyperCLOVAXVisionV2": "model.language_model.lm_head",
    "InstructBlip": "language_model.lm_head",
    "Kosmos2": "text_model.lm_head",
    "Llama4ForConditionalGeneration": "language_model.lm_head",
    "SpeechT5ForSpeechToText": "text_decoder_postnet.lm_head",
    "T5Gemma": "lm_head.out_proj",
    "TrOCRForCausalLM": "output_projection",
}
# Ends of the embedding's name, the first that there is: an encoder may have one too.
_SHARED = ("shared.weight", "decoder.embed_tokens.weight")
_EMBEDDINGS = (
    "embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "backbone.embeddings.weight",
    "tokens_embed.weight", "transformer.w.weight", "word_embedding.weight", "transformer.embeddings.weight",
)  # fmt: skip


def tied_heads(tensors: Sequence[StoredTensor], config: Mapping[str, Any]) -> Iterator[tuple[str, StoredTensor]]:
    """Yield (parameter name of a head, its embedding) of a model whose file lacks the head because the two are tied.

    Args:
        tensors: all of the model's.
        config: config.json as a dict, or empty: without a class that has a head there is none.
    """
    inner, decoder = text_config(config), config.get("decoder")
    architectures = config.get("architectures") or inner.get("architectures")
    listed = [str(name) for name in (architectures if isinstance(architectures, list) else [architectures])]
    by_layer = {layer_name_of(tensor.name): tensor for tensor in tensors}
    if isinstance(decoder, Mapping) and any(name.endswith(_OF_TWO) for name in listed):
        inside = [t for t in tensors if t.name.startswith("decoder.")]
        short = [replace(t, name=t.name.removeprefix("decoder.")) for t in inside]
        for head, words in tied_heads(short, {**decoder, "architectures": ["ForCausalLM"]}):
            yield f"decoder.{head}", replace(words, name=f"decoder.{words.name}")
        return
    if any(name.startswith("Bark") for name in listed):
        for match, codes in ((_CODEBOOK.match(layer), tensor) for layer, tensor in by_layer.items()):
            if match and f"{match['owner']}lm_heads.0" not in by_layer:
                yield f"{match['owner']}lm_heads.{int(match['number']) - 1}.weight", codes
        return
    said = [part.get("tie_word_embeddings") for part in (config, inner)]  # the class of the model decides which counts;
    if False in said and True not in said:  # if it is the one that says no, the file has the head
        return
    if any(part.startswith("lm_head") and part != "lm_head" for layer in by_layer for part in layer.split(".")):
        return  # several heads, as of Musicgen
    model_type = str(inner.get("model_type", config.get("model_type")))
    for end, head_end in _AFTER_A_TRANSFORM.items() if any(name.endswith(_MASKED) for name in listed) else ():
        for layer in by_layer:
            if layer == end or layer.endswith(f".{end}"):
                head = layer.removesuffix(end) + head_end
                if model_type.startswith("modernbert"):
                    head = "decoder"
                shared = _embedding(tensors, ("word_embeddings.weight", "tok_embeddings.weight"))
                if head_end == "decoder" and not any(name.endswith("ForMaskedLM") for name in listed):
                    continue
                if shared is not None and head not in by_layer and shared.shape[1] == by_layer[layer].shape[0]:
                    yield f"{head}.weight", shared
                return
    last_parts = {layer.rpartition(".")[2] for layer in by_layer}
    head = _NAMES.get(model_type, "lm_head")
    if last_parts & {"lm_head", "embed_out"} or {head, "output"} & by_layer.keys():
        return
    if any(name.endswith(_CAUSAL) for name in listed):
        table = _embedding(tensors, ("decoder.embed_tokens.weight",)) or _embedding(tensors, _EMBEDDINGS)
    elif any(name.endswith(_SEQUENCE_TO_SEQUENCE) for name in listed):
        table = _embedding(tensors, _SHARED) or _embedding(tensors, _EMBEDDINGS)
    else:
        return
    head = next((name for start, name in _OF_CLASSES.items() if any(one.startswith(start) for one in listed)), head)
    if table is not None and (outer := _NESTED.match(table.name)) and "." not in head:
        head = outer[1] + head  # a language model inside another, under the names that its files have
    if table is not None and head not in by_layer:
        yield f"{head}.weight", table


def _embedding(tensors: Sequence[StoredTensor], ends: tuple[str, ...]) -> StoredTensor | None:
    return next((tensor for end in ends for tensor in tensors if tensor.name.endswith(end)), None)
