"""Second moments of what linear layers take in, over a text: what rounding needs to know of them."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.utils.machine import available_memory

TOKENS, CONTEXT = 4096, 512

Progress = Callable[[int, int, str], None]


def input_squares(
    model: nn.Module, modules: Mapping[str, nn.Module], windows: Tensor, *, on_progress: Progress | None = None
) -> dict[str, Tensor]:
    """Return name -> mean of x² over the inputs x of a module, shape (in_features,), float32, on the CPU.

    Args:
        model: a causal language model (transformers), whose weights and modes are left as found.
        modules: modules of it with inputs of shape (..., in_features); one that gets no input is left out.
        windows: token ids, shape (windows, length).
        on_progress: called with (windows done, windows in all, "inputs").

    Raises:
        PlanError: an input is nan or inf, or the model needs more than token ids.
    """
    sums, counts = dict[str, Tensor](), dict[str, int]()

    def take(name: str, rows: Tensor) -> None:
        squares = rows.double().square().sum(0).cpu()
        sums[name] = sums[name] + squares if name in sums else squares
        counts[name] = counts.get(name, 0) + len(rows)

    _run(model, modules, windows, take, _steps(on_progress, len(windows)))
    return {name: _finite(name, (total / counts[name]).float()) for name, total in sums.items()}


def input_products(
    model: nn.Module, modules: Mapping[str, nn.Module], windows: Tensor, *, on_progress: Progress | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, sum of x xᵀ over the inputs x of a module), shape (in_features, in_features), float32.

    As many modules at a time as their products fit into a quarter of the free memory, each time with a pass over the
    text. The weights may be changed meanwhile, except those of modules still to come.

    Args:
        model: see `input_squares`.
        modules: see there; one that gets no input has zeros.
        windows: token ids, shape (windows, length).
        on_progress: called with (windows done, windows in all, "inputs").

    Raises:
        PlanError: an input is nan or inf, or the model needs more than token ids.
    """
    groups = list(_groups(modules, available_memory() // 4))
    step = _steps(on_progress, len(groups) * len(windows))
    for group in groups:
        sizes = {name: int(modules[name].in_features) for name in group}  # type: ignore[arg-type]
        products = {name: torch.zeros(size, size) for name, size in sizes.items()}

        def take(name: str, rows: Tensor, products: dict[str, Tensor] = products) -> None:
            rows = rows.float()
            products[name].add_((rows.T @ rows).cpu())

        _run(model, {name: modules[name] for name in group}, windows, take, step)
        for name in group:
            yield name, _finite(name, products.pop(name))


def _groups(modules: Mapping[str, nn.Module], most: int) -> Iterator[list[str]]:
    """Yield the names in groups whose products take no more than so many bytes, at least one at a time."""
    group, size = list[str](), 0
    for name, module in modules.items():
        more = 4 * int(module.in_features) ** 2  # type: ignore[arg-type]
        if group and size + more > most:
            yield group
            group, size = [], 0
        group.append(name)
        size += more
    if group:
        yield group


@torch.no_grad()
def _run(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    windows: Tensor,
    take: Callable[[str, Tensor], None],
    step: Callable[[], None],
) -> None:
    device = next(model.parameters()).device
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    with _watched(modules, take):
        for window in windows:
            try:
                model(input_ids=window[None].to(device), **options)
            except (TypeError, ValueError) as error:  # an encoder and decoder, a model of images
                raise PlanError(
                    f"{type(model).__name__}: expected a model that takes token ids alone, got {type(error).__name__}: "
                    f"{error}. Round to nearest: leave out --rounding."
                ) from error
            step()


@contextmanager
def _watched(modules: Mapping[str, nn.Module], take: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `take` with the name and the inputs of each module, shape (tokens, in_features), whenever it runs."""

    def hook(name: str) -> Callable[[nn.Module, Sequence[Tensor]], None]:
        return lambda module, given: take(name, given[0].detach().flatten(0, -2)) if given[0].numel() else None

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def _steps(on_progress: Progress | None, total: int) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total, "inputs")

    return step


def _finite(name: str, moments: Tensor) -> Tensor:
    if not torch.isfinite(moments).all():
        raise PlanError(
            f"{name}: expected finite inputs, got nan or inf on the calibration text. Load the model in fp32, or check "
            "its weights with `alpha-hill scan`."
        )
    return moments
