"""How a plan was made, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

EXPLAINED = {
    "measured": "least squared relative error of the weights at these bits",
    "fisher": "least expected increase of the loss at these bits (squared error weighted by the Fisher information)",
    "alphaq": "the cost of AlphaQ: code bits weighted by alpha; nothing is measured",
    "thresholds": "alpha against two bounds; no budget",
}
_FIRST = ("candidates", "avg_bits", "bounds", "variation", "gamma", "protect")
_OF_POLICY = {
    "gamma": ("alphaq",),
    "bounds": ("thresholds",),
    "variation": ("thresholds",),
    "protect": ("alphaq", "thresholds"),
}


def sentences_of(policy: str, settings: Mapping[str, Any]) -> list[str]:
    """Return what a person should know of the options of a plan, those that its policy does not look at left out.

    Settings of a plan that was edited by hand are told as they are.
    """
    said = [f"Policy {policy}: {EXPLAINED[policy]}."] if policy in EXPLAINED else []
    if policy and not said:
        said.append(f"Made by {policy}.")
    order = (*_FIRST, *settings)
    for name, value in sorted(settings.items(), key=lambda entry: order.index(entry[0])):
        if value in (None, "", ()) or policy not in _OF_POLICY.get(name, (policy,)):
            continue
        said.append(_sentence(name, value))
    return [sentence for sentence in said if sentence]


def _sentence(name: str, value: Any) -> str:
    match name, value:
        case "candidates", list() | tuple():
            return f"Chosen among {listed([str(each) for each in value])}." if value else ""
        case "avg_bits", int() | float():
            return f"The budget was {value:.4g} bits per weight."
        case "bounds", [low, high]:
            return f"4 bits for an alpha below {low:g}, 16 bits above {high:g}, 8 bits between."
        case "variation", int() | float():
            return f"16 bits where alpha varies by {value:g} or more between 16-bit and wider precisions."
        case "gamma", int() | float():
            return f"Alpha counts with the power {value:g}."
        case "protect", str():
            return f"Layers with {'a high' if value == 'high-alpha' else 'a low'} alpha are taken as sensitive."
        case "untied", bool():
            return (
                "Layers that a server fuses may differ in format; vLLM cannot load that."
                if value
                else ("Layers that a server fuses (q, k and v; gate and up; experts) share a format.")
            )
        case "keep", str():
            return f"Layers whose names match {value} stay at 16 bits."
        case "quantize_head", bool():
            return (
                "The language head is quantized too."
                if value
                else ("Embeddings, the language head, routers and convolutions stay at 16 bits, outside the budget.")
            )
    return f"{name}: {value}."


def listed(names: Sequence[str], word: str = "and") -> str:
    """Return names as in a sentence.

    Examples:
        >>> listed(["fp8", "int8", "int4"]), listed(["fp8"])
        ('fp8, int8 and int4', 'fp8')
    """
    return f"{', '.join(names[:-1])} {word} {names[-1]}" if len(names) > 1 else "".join(names)


def sized(nbytes: float) -> str:
    """Return a size on disk as people say it, in decimal units.

    Examples:
        >>> sized(135e6 * 2), sized(6_212), sized(2.5e9)
        ('270 MB', '6.21 kB', '2.5 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if nbytes >= factor:
            return f"{nbytes / factor:.3g} {unit}"
    return f"{nbytes / 1e3:.3g} kB"
