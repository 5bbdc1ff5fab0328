"""A checkpoint -> its results folder: what `alpha-hill scan` does, as a function."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from alpha_callbacks.analysis.parallel import analyze_weights, choose_parallelism
from alpha_callbacks.analysis.processes import ScanShare, Torchrun, share
from alpha_callbacks.analysis.read_ahead import ReadAhead
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.fingerprint import fingerprint
from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.checkpoints.open_base import open_base
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError, OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.changed_checkpoint import watched
from alpha_callbacks.scanning.journal import (
    FOLDER,
    NOTES,
    Identity,
    JournalWriter,
    identity,
    read_journal,
)
from alpha_callbacks.scanning.journal_parts import clear_journal, only_writer
from alpha_callbacks.scanning.observer import Observer
from alpha_callbacks.scanning.write_results import Plots, ScanResult, write_all
from alpha_callbacks.tables import results_csv
from alpha_callbacks.tables.spectra_files import FOLDER as SPECTRA
from alpha_callbacks.tables.spectra_files import (
    clear_spectra,
    damaged_spectra,
    has_spectra,
    kept_layers,
    write_spectra,
)
from alpha_callbacks.utils.atomic_files import make_folder
from alpha_callbacks.utils.labels import some_names
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.skip_reasons import FILTERED
from alpha_callbacks.weights.stored_tensor import layer_name_of
from alpha_callbacks.weights.weight import Weight


def scan(
    source: str | Path | None = None,
    *,
    output_dir: str | Path,
    options: AnalysisOptions | None = None,
    base: str | Path | None = None,
    workers: int | None = None,
    threads: int | None = None,
    resume: bool = True,
    shard: ScanShare | None = None,
    revision: str | None = None,
    remote: bool = False,
    plots: Plots | None = None,
    report: bool = True,
    save_spectra: bool | None = None,
    observer: Observer | None = None,
) -> ScanResult | None:
    """Analyse every weight of a checkpoint, tensor by tensor, and write the results.

    Finished layers go to a journal first: a run that was killed continues where it stopped, and its tables are
    the same bytes. Under torchrun the layers are shared among the ranks.

    Args:
        source: folder, file, or model id on the hub; None: the embedded tiny Llama.
        output_dir: made if needed.
        options: what to compute.
        base: what the source was trained from, in the same forms: adds the rows of W - W0, or those of the weights
            with an adapter. None: what an adapter's config names, if it is on disk; see docs/what_can_be_scanned.md.
        workers: matrices side by side.
        threads: CPU threads in all.
        resume: take up the journal in output_dir, else start over.
        shard: compute only this share and write only the journal, for `merge`.
        revision: of a model id.
        remote: read the model where it lies, by HTTP range requests, and write nothing but results. `source` is then a
            model id, or the URL of a .safetensors file, of its index, or of a .gguf file.
        plots: which charts.
        report: write report.html.
        save_spectra: keep the eigenvalues of every layer and precision in output_dir/spectra. None: those that the
            results come from anyway, as far as they take at most 200 MB (see `spectra.kept_layers`): what is proved
            from those of the stored matrix has none of its own. True decomposes each precision, and layers again whose
            eigenvalues the journal has not all.
        observer: receives the progress.

    Returns:
        The result; None on ranks other than the first, and for a shard.

    Raises:
        CheckpointError: the source cannot be read, has no weights to analyse, or has changed during the scan.
        JournalError: output_dir holds the journal of another run, or another scan is at work there.
        OptionError: output_dir cannot be a folder.
    """
    options, observer = options or AnalysisOptions(), observer or Observer()
    started, directory = time.perf_counter(), Path(output_dir)
    make_folder(directory)
    checkpoint = _open(source, revision, remote)
    below = open_base(checkpoint, base, download=not remote)
    inventory = checkpoint.inventory_with_base(below, options) if below else checkpoint.inventory(options)
    if not inventory.weights:
        raise CheckpointError(f"{checkpoint.source}: {_why_empty(inventory, options)}")
    notes = [*checkpoint.notes, *(below.notes if below else ())]
    notes += [f"{note[0].upper()}{note[1:]}." for note in inventory.notes]
    if below and base is None:
        notes.append(f"{below.source} is the base, which the config of the adapter names; --base names another.")
    prints, base_prints = fingerprint(checkpoint), fingerprint(below) if below else {}
    identified = {**prints, **{f"base/{name}": digest for name, digest in base_prints.items()}}
    own = identity(options, identified, [w.layer_name for w in inventory.weights])
    with ExitStack() as held:  # until the files are written: who starts over would remove spectra that they show
        with Torchrun() as ranks:
            if ranks.from_first(own) != own:
                raise CheckpointError(
                    f"{checkpoint.source}: expected the same checkpoint on all ranks, rank {ranks.rank} has another "
                    "one than rank 0. Of a model on the hub, name a commit with --revision."
                )
            part = (f"shard-{shard.index}-of-{shard.count}-" if shard else "") + "rank-"
            own_part, journals = f"{part}{ranks.rank}", directory / FOLDER
            clear = "" if resume else f"{part}*" if shard else "*"
            with_spectra = kept_layers(inventory.weights, options, save_spectra)
            again = with_spectra if save_spectra else frozenset()
            if ranks.rank == 0:
                held.enter_context(only_writer(journals, own_part))
                if clear:
                    clear_journal(journals, clear, own=own_part)
                if clear == "*":
                    clear_spectra(directory / SPECTRA)
            kept = ranks.from_first(_kept(directory, own, again) if ranks.rank == 0 else None)
            if ranks.rank != 0:  # not before the first has removed old parts
                held.enter_context(only_writer(journals, own_part))
            weights = share(inventory.weights, shard.index - 1, shard.count) if shard else inventory.weights
            mine = share([w for w in weights if w.layer_name not in kept], ranks.rank, ranks.size)
            parallelism = choose_parallelism(mine, workers=workers, threads=threads, device=options.device)
            if checkpoint.origin is not None:
                observer.fetching(checkpoint.origin, checkpoint.origin.size(inventory, mine))
            observer.opened(checkpoint, mine, len(kept), parallelism)
            done = dict[str, Result]()
            part_file = journals / f"{own_part}.jsonl"
            with (
                watched(checkpoint, prints, part_file) as look,
                watched(below, base_prints, part_file) if below else nullcontext(look) as look_below,
                JournalWriter(journals, own_part, {**own, NOTES: notes}) as journal,
                _reading(checkpoint) as ahead,
            ):
                for result in analyze_weights(
                    mine, options, parallelism, spectra_of=with_spectra, of_each=bool(save_spectra), ahead=ahead
                ):
                    look()
                    look_below()
                    write_spectra(directory / SPECTRA, result.layer_name, result.spectra)
                    journal.add(result)  # after its spectra, so that a kill in between loses neither
                    done[result.layer_name] = result.light
                    observer.finished(result)
            everything = {**kept, **{name: r for results in ranks.gather(done) for name, r in results.items()}}
        if ranks.rank == 0:
            results_csv.write_coverage(inventory, directory / results_csv.COVERAGE)
        if ranks.rank != 0 or shard:
            return None
        seconds = time.perf_counter() - started
        record = {
            "source": checkpoint.source,
            **({"base": below.source} if below else {}),
            "parallelism": asdict(parallelism),
            "device": options.device,
            "ranks": ranks.size,
            "seconds": round(seconds, 3),
            "notes": notes,
            **_provenance(checkpoint),
        }
        plots = plots or Plots()
        on_chart = observer.drawing
        return write_all(own, everything, directory, plots, record, report=report, seconds=seconds, on_chart=on_chart)


def _open(source: str | Path | None, revision: str | None, remote: bool) -> Checkpoint:
    if not remote:
        notes = list[str]()
        found = open_checkpoint(locate(source, revision, note=notes.append))
        return replace(found, notes=(*notes, *found.notes))
    if source is None or Path(source).exists():
        what = "the model that comes with the package" if source is None else f"{source}, which is on this machine"
        raise OptionError(f"remote: expected a model id or a URL, got {what}. Leave it out.")
    from alpha_callbacks.checkpoints.remote.open_remote import open_remote

    return open_remote(str(source), revision)


@contextmanager
def _reading(checkpoint: Checkpoint) -> Iterator[Callable[[Sequence[Weight]], Iterable[Weight]]]:
    """Give what passes weights on to the solves: as they are, or read ahead where they come over a network."""
    if checkpoint.origin is None:
        yield iter
        return
    try:
        with ReadAhead() as ahead:
            yield ahead
    finally:
        checkpoint.origin.close()


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what run.json says of a checkpoint that was not on this machine."""
    origin = checkpoint.origin
    return {"remote": {"commit": origin.commit, "bytes_received": origin.traffic.received}} if origin else {}


def _kept(directory: Path, own: Identity, with_spectra: Collection[str]) -> dict[str, Result]:
    """Return the layers that the journal has.

    Failed ones are tried again, and those whose eigenvalues are damaged, or of `with_spectra` and not all on disk
    although there is an alpha.
    """

    def complete(result: Result) -> bool:
        wanted = result.layer_name in with_spectra and any(row.ok for row in result.rows)
        place = directory / SPECTRA, result.layer_name
        proved = any(row.method == "certified" for row in result.rows)  # without eigenvalues of their own
        found = not wanted or (has_spectra(*place) and not proved)
        return found and not damaged_spectra(*place) and all(row.status != "failed" for row in result.rows)

    return {name: result for name, result in read_journal(directory / FOLDER, own)[1].items() if complete(result)}


def _why_empty(inventory: Inventory, options: AnalysisOptions) -> str:
    if names := [layer_name_of(tensor.name) for tensor in inventory.skipped if tensor.reason == FILTERED]:
        wanted = f"that match {options.include!r}" if options.include else "in it"
        rest = f" once {options.exclude!r} is excluded" if options.exclude else ""
        return f"expected layers {wanted}{rest}, got none. {some_names(names)}"
    reasons = ", ".join(sorted({tensor.reason for tensor in inventory.skipped})[:4])
    return f"expected weights to analyse, found none ({reasons}). Name the folder that holds the model's weights."
