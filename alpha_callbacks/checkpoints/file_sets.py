"""Which files of a folder (or a repository) make up one checkpoint: one rule for all, by names and indexes alone.

The rule, which docs/what_can_be_scanned.md explains:

1. A set is a single file, shards whose numbers are complete, or the files of an index that are all there, together
   with the shards that belong to them.
2. A set named as libraries name a whole model (`file_names.MAIN`) goes before others; then safetensors before .bin
   before .ckpt before GGUF; then the order of `MAIN`; then no variant before a variant; then an index before a single
   file before shards without an index.
3. Weights that are no whole model (adapters, projectors) are read only where there is nothing else.
4. What remains undecided is an error that lists the choices; what was left aside is a note.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from alpha_callbacks.checkpoints.file_names import (
    FORMATS,
    MAIN,
    NamedSet,
    SetName,
    index_of,
    is_beside,
    ranks_beside,
    sets_of,
)
from alpha_callbacks.errors import CheckpointError

IndexReader = Callable[[str], Mapping[str, str]]  # name of an index -> tensor to file; raises CheckpointError
_SHOWN = 8  # names in a message


@dataclass(frozen=True)
class FileSet:
    """Files that make up one checkpoint.

    Attributes:
        files: their names, in order.
        index: name of the index that lists them, or "".
        promised: tensor -> file, as that index says.
        notes: a sentence on each choice that was made.
    """

    files: tuple[str, ...]
    index: str = ""
    promised: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """A set that could be read, or the error that says why it cannot."""

    name: SetName
    files: tuple[str, ...]
    index: str = ""
    promised: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """What a message calls it."""
        if not self.files:
            return f"the files of {self.index}"
        label = self.files[0] if len(self.files) == 1 else f"{self.files[0]} … {self.files[-1]}"
        return f"{label} (incomplete)" if self.problem else label


def choose_files(
    names: Collection[str], where: str, read_index: IndexReader, formats: Sequence[str] = FORMATS
) -> FileSet | None:
    """Return the files that make up the checkpoint of a folder, or None if no file there is named like weights.

    Args:
        names: of all files in the folder.
        where: folder or model id, for messages.
        read_index: reads an index of the folder.
        formats: suffixes of weights, the preferred ones first.

    Raises:
        CheckpointError: incomplete, several checkpoints to choose from, or pieces of matrices.
    """
    candidates = sorted(_candidates(names, where, read_index, formats), key=lambda c: _place(c, formats))
    if not candidates:
        return None
    best = candidates[0]
    if best.problem:
        raise CheckpointError(best.problem)
    _require_whole(best.files[0], names, where)
    rivals = [c.files[0] for c in candidates if _place(c, formats) == _place(best, formats)]
    if len(rivals) > 1:
        shown = ", ".join(sorted(rivals)[:_SHOWN]) + (", …" if len(rivals) > _SHOWN else "")
        raise CheckpointError(
            f"{where}: expected one checkpoint, found several ({shown}). Name one file, as in `alpha-hill scan "
            f"{where}/{min(rivals)}`."
        )
    return FileSet(best.files, best.index, best.promised, _notes(best, candidates, formats))


def set_around(file: str, names: Collection[str], where: str, read_index: IndexReader) -> FileSet:
    """Return the files that a file forms one checkpoint with: naming one shard means all of them.

    Where the others are not there, the set is this file alone, and a note says so.

    Raises:
        CheckpointError: it holds a piece of each matrix.
    """
    _require_whole(file, names, where)
    candidates = [c for c in _candidates(names, where, read_index, FORMATS) if file in c.files]
    whole = next((c for c in candidates if not c.problem and len(c.files) > 1), None)
    if whole is not None:
        note = f"{file} is one of {len(whole.files)} files of one checkpoint; all of them are read."
        more = (f"{whole.label}: {whole.note}.",) if whole.note else ()
        return FileSet(whole.files, whole.index, whole.promised, (note, *more))
    if any(c.problem for c in candidates):
        note = f"{file} belongs to a set of which other files are not here: the results cover this file only."
        return FileSet((file,), notes=(note,))
    return FileSet((file,))


def _require_whole(file: str, names: Collection[str], where: str) -> None:
    """Check that a file is not what one of several ranks holds of each matrix."""
    if ranks := ranks_beside(file, names):
        raise CheckpointError(
            f"{where}/{file}: expected whole matrices, got what one of {ranks} ranks holds of each (tensor "
            "parallelism). Scan the checkpoint that these files were made from."
        )


def _place(candidate: _Candidate, formats: Sequence[str]) -> tuple[int, ...]:
    """Return where a candidate stands in the order of the rule.

    An incomplete set of a usual name comes behind the complete ones of usual names and before all others: a small file
    beside it must not be taken for the model.
    """
    name, whole = candidate.name, not candidate.problem
    if any(map(is_beside, candidate.files)):
        return 4, formats.index(name.format)
    if name.rank == len(MAIN):
        order = sorted(formats, key="bin".__eq__)  # .bin says least about a file
        return 2 if whole else 3, order.index(name.format)
    kind = 0 if candidate.index else 1 if name.total == 1 else 2
    return 0 if whole else 1, formats.index(name.format), name.rank, bool(name.variant), kind


def _candidates(
    names: Collection[str], where: str, read_index: IndexReader, formats: Sequence[str]
) -> list[_Candidate]:
    """Return every set: those of the indexes, and those that the names of the other files form."""
    sets, indexed, stale = sets_of(names, formats), list[_Candidate](), dict[tuple[str, ...], _Candidate]()
    for index in sorted(names):
        name = index_of(index)
        if name is not None and name.format in formats:
            found = _indexed(index, name, sets, frozenset(names), where, read_index)
            indexed.append(found)
            if found.problem and not found.files:
                stale[name.format, name.stem, name.variant] = found
    taken = {file for candidate in indexed if not candidate.problem for file in candidate.files}
    grouped = [
        _grouped(group, where, stale.get((group.name.format, group.name.stem, group.name.variant)))
        for group in sets
        if not taken & set(group.files.values())
    ]
    explained = [found for found in stale.values() if any(found.index in group.note for group in grouped)]
    return [*(found for found in indexed if found not in explained), *grouped]


def _indexed(
    index: str, name: SetName, sets: list[NamedSet], names: frozenset[str], where: str, read_index: IndexReader
) -> _Candidate:
    try:
        promised = read_index(index)
    except CheckpointError as error:
        return _Candidate(name, (), index, problem=str(error))
    listed = dict.fromkeys(sorted(promised.values()))
    missing = [file for file in listed if file not in names]
    if missing:
        problem = (
            f"{where}/{missing[0]}: expected this shard (named by {index}), it is missing ({len(missing)} of "
            f"{len(listed)} are). Complete the download."
        )
        return _Candidate(name, tuple(file for file in listed if file in names), index, promised, problem)
    touched = [group for group in sets if listed.keys() & set(group.files.values())]
    more = sorted({file for group in touched for file in group.files.values()} - listed.keys())
    holes = sum(len(group.missing) for group in touched)
    note = ""
    if more:
        note = f"{index} names {len(listed)} of these {len(listed) + len(more)} files; all are read, {more[0]} too"
    elif holes:
        note = f"{index} names no other files, though by their numbers {holes} more should be there"
    return _Candidate(name, tuple(sorted((*listed, *more))), index, promised, note=note)


def _grouped(group: NamedSet, where: str, stale: _Candidate | None) -> _Candidate:
    files = tuple(group.files[number] for number in sorted(group.files))
    if group.missing:
        total = len(files) + len(group.missing)
        problem = (
            f"{where}: expected {total} shards, found {len(files)} of them ({files[0]}, …; number {group.missing[0]} "
            "is missing). Complete the download."
        )
        return _Candidate(group.name, files, problem=problem)
    note = f"{stale.index} is not about these files ({stale.problem.rstrip('.')})" if stale else ""
    return _Candidate(group.name, files, note=note)


def _notes(best: _Candidate, candidates: list[_Candidate], formats: Sequence[str]) -> tuple[str, ...]:
    notes = []
    aside = list(dict.fromkeys(c.label for c in candidates if not set(c.files) <= set(best.files) or not c.files))
    if aside:
        shown = ", ".join(aside[:_SHOWN]) + (f" and {len(aside) - _SHOWN} more" if len(aside) > _SHOWN else "")
        notes.append(f"{best.label} is read, {_why(best, candidates, formats)}; left aside: {shown}.")
    if best.note:
        notes.append(f"{best.label}: {best.note}.")
    return tuple(notes)


def _why(best: _Candidate, candidates: list[_Candidate], formats: Sequence[str]) -> str:
    """Return the clause of the rule that decided, as what sets the best apart from the next."""
    second = candidates[1]
    places = zip(_place(best, formats), _place(second, formats), strict=False)
    decided = next((i for i, (a, b) in enumerate(places) if a != b), 0)
    reasons = {
        1: f"since .{best.name.format} goes before .{second.name.format}",
        2: f"since the name {best.name.stem} goes before {second.name.stem}",
        3: "since no variant goes before a variant",
        4: f"since {best.index} lists it" if best.index else "since a single file goes before shards without an index",
    }
    if any(map(is_beside, second.files)):
        return "since the rest is no whole model"
    return reasons.get(decided, "since it is complete" if second.problem else "since it is named as a whole model")
