"""Plans and windows for the tiny Llama that ships with the package."""

from torch import Tensor, nn

from alpha_callbacks.evaluation.language_model import LanguageModel
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.weights.categorize import categorize
from tests.conftest import REPOSITORY


def plan_of(model: nn.Module, *formats: str, shift: int = 0) -> Plan:
    """Return a plan in which blocks take turns with these formats and the language head stays at 16 bits."""
    choices = []
    for name, matrix in matrices(model).items():
        category = categorize(name)
        block = next((int(part) for part in name.split(".") if part.isdigit()), 0)
        head = category == "lm_head"
        precision = "bf16" if head else formats[(block + shift) % len(formats)]
        choices.append(Choice(name, category, *matrix.shape, precision, budgeted=not head))
    return Plan(tuple(choices))


def licence(tiny: LanguageModel, *, tokens: int = 96, context: int = 48) -> Tensor:
    """Return windows of a text that the tiny Llama was not trained on."""
    return tiny.windows(REPOSITORY / "LICENSE", tokens=tokens, context=context)
