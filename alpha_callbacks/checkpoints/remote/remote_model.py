"""What is named on the command line -> the files of one model on a server, all of one commit."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from alpha_callbacks.checkpoints.configs import config_of
from alpha_callbacks.checkpoints.file_names import index_of, sets_of
from alpha_callbacks.checkpoints.file_sets import FileSet, choose_files, set_around
from alpha_callbacks.checkpoints.folders import MODULES, PIPELINE, component_names, listed
from alpha_callbacks.checkpoints.hub_errors import refusal
from alpha_callbacks.checkpoints.index_file import weight_map_of
from alpha_callbacks.checkpoints.remote.link import Link
from alpha_callbacks.checkpoints.remote.redirects import Refused, require_web_address, shown
from alpha_callbacks.checkpoints.remote.whole_file import fetch
from alpha_callbacks.errors import CheckpointError, OptionError, SourceError

_ON_HUB = re.compile(
    r"/(?P<id>[\w.-]+(?:/[\w.-]+)?)/(?:resolve|blob|raw|tree)/(?P<revision>[^/]+)(?:/(?P<file>[^?#]*))?|"
    r"/(?P<plain>[\w.-]+/[\w.-]+)/?"
)
_ID = re.compile(r"(?P<id>\w[\w.-]*(?:/\w[\w.-]*)?)(?:/(?P<file>.+\.(?:safetensors|gguf|json)))?")
_WHAT = "expected a model id (organization/name) or the URL of a .safetensors file, of its index, or of a .gguf file"


@dataclass(frozen=True)
class RemoteModel:
    """The files of one model.

    Attributes:
        source: what names it in results.
        commit: of the repository; "" for files that are not on the hub.
        address: file name -> URL.
        files: those that hold the weights.
        config: config.json as a dict, or empty.
        explain: what a refusal of one of the files means.
    """

    source: str
    commit: str
    address: Callable[[str], str]
    files: FileSet
    config: Mapping[str, Any]
    explain: Callable[[Refused], CheckpointError]


def find_model(source: str, revision: str | None, link: Link) -> RemoteModel:
    """Find the files of a model without reading any weights.

    Args:
        source: "organization/name", a page or file of the hub, or the URL of a .safetensors file or index, or a .gguf
            file, elsewhere.
        revision: branch, tag or commit of a model on the hub.
        link: sends the requests.

    Raises:
        CheckpointError: unknown, gated, without weights, or a URL that cannot be read.
        OptionError: a revision of something that has none.
    """
    if "://" not in source:
        match = _ID.fullmatch(source)
        if match is None:
            raise CheckpointError(f"{source}: {_WHAT}.")
        return _on_hub(match["id"], revision, match["file"] or "", link)
    require_web_address(source)
    page = _page_of_hub(source)
    if page is None:
        if revision is not None:
            raise OptionError(f"revision: expected a model on the hub, got {shown(source)}. Leave it out.")
        return _elsewhere(source, link)
    named = unquote(page["revision"]) if page["revision"] else None
    if revision is not None and named not in (None, revision):
        raise OptionError(f"revision: expected {named!r}, which the address names, got {revision!r}. Leave one out.")
    return _on_hub(page["id"] or page["plain"], revision or named, unquote(page["file"] or ""), link)


def _page_of_hub(url: str) -> re.Match[str] | None:
    """Return the parts of an address of the hub, also where HF_ENDPOINT names another host that mirrors it."""
    from huggingface_hub import constants

    for endpoint in (constants.ENDPOINT.rstrip("/"), "https://huggingface.co", "https://hf.co"):
        if url.startswith(f"{endpoint}/"):
            return _ON_HUB.fullmatch(urlsplit(url).path.removeprefix(urlsplit(endpoint).path))
    return None


def _on_hub(model_id: str, revision: str | None, file: str, link: Link) -> RemoteModel:
    from huggingface_hub import constants, hf_hub_url

    def explain(refused: Refused) -> CheckpointError:
        code = refused.code or str(refused.status)
        return refusal(code, model_id, revision, "a model on the hub, found none of this name") or refused

    api = f"{constants.ENDPOINT}/api/models/{model_id}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
    try:
        info = json.loads(fetch(api, link))
        commit, paths = str(info["sha"]), [str(entry["rfilename"]) for entry in info["siblings"]]
    except Refused as refused:
        raise explain(refused) from refused
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{shown(api)}: expected a commit and a list of files, got {error!r:.80}.") from error
    folder, _, name = file.rpartition("/")
    within = f"{folder}/" if folder else ""
    inside = [path.removeprefix(within) for path in paths if path.startswith(within)]
    names = [name for name in inside if "/" not in name]

    lost: list[SourceError] = []

    def address(name: str) -> str:
        return hf_hub_url(model_id, f"{within}{name}", revision=commit)

    def read_index(index: str) -> Mapping[str, str]:
        try:
            return weight_map_of(fetch(address(index), link, commit), f"{model_id}/{within}{index}")
        except SourceError as error:
            lost.append(error)
            raise

    try:
        found = _files(name, names, model_id, read_index)
        if lost:  # to choose files without an index is for indexes that are wrong, not for one that did not come
            raise lost[0]
        if not name:
            more = _beside(inside, model_id, lambda other: fetch(address(other), link, commit))
            found = replace(found, notes=(*found.notes, *more))
        config = config_of(lambda other: _json(fetch(address(other), link, commit), other) if other in names else {})
    except Refused as refused:
        raise explain(refused) from refused
    source = f"{model_id}/{file}" if file else model_id
    return RemoteModel(source, commit, address, found, config, explain)


def _files(name: str, names: Collection[str], model_id: str, read_index: Callable[[str], Mapping[str, str]]) -> FileSet:
    """Return the files that the user means: those of an index, those around a file, or those of the folder."""
    if name and name not in names:
        raise CheckpointError(f"{model_id}: expected {name!r} among its files, it is not there.")
    if name and index_of(name):
        promised = read_index(name)
        absent = sorted({*promised.values()} - {*names})
        if absent:
            raise CheckpointError(f"{model_id}/{absent[0]}: expected this shard (named by {name}), it is missing.")
        return FileSet(tuple(sorted(set(promised.values()))), name, promised)
    if name:
        return set_around(name, names, model_id, read_index)
    found = choose_files(names, model_id, read_index)
    if found is None:
        raise CheckpointError(
            f"{model_id}: expected weights in its top folder, found none. If they are in a folder, name one of its "
            f"files: {model_id}/FOLDER/FILE."
        )
    return found


def _beside(paths: Collection[str], model_id: str, read: Callable[[str], bytes]) -> tuple[str, ...]:
    """Return a note on weights in folders below those that are read.

    Args:
        paths: of all files, from the folder that is read.
        model_id: for messages.
        read: returns the content of a file.

    Raises:
        CheckpointError: they are parts of the model, each with a config of its own, that a download would have.
    """
    below = dict.fromkeys(p.partition("/")[0] for p in paths if p.count("/") == 1 and sets_of([p.partition("/")[2]]))
    if not below:
        return ()
    described = [_content(read(name), name) if name in paths else None for name in (PIPELINE, MODULES)]
    parts = [part for part in component_names(*described) if part in below]
    if parts:
        raise CheckpointError(
            f"{model_id}: expected one model, got one of several parts ({listed(parts)}), each with a config of "
            "its own. Scan it without --remote, which downloads all of them, or name one file."
        )
    return (f"Folders below hold weights too, which are not read: {listed(below)}.",)


def _elsewhere(url: str, link: Link) -> RemoteModel:
    """Return the model of a URL that is not on the hub."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])

    def address(other: str) -> str:
        return url if other == name else urljoin(url, quote(other))

    if not name.endswith((".safetensors", ".gguf")) and index_of(name) is None:
        raise CheckpointError(f"{shown(url)}: {_WHAT}. Download other formats and scan the file.")
    if index_of(name) is not None:
        promised = weight_map_of(fetch(url, link), shown(url))
        found = FileSet(tuple(sorted(set(promised.values()))), name, promised)
    else:
        found = set_around(name, [name], shown(url), lambda index: {})

    def beside(other: str) -> Mapping[str, Any]:
        try:
            return _json(fetch(address(other), link), other)
        except Refused as refused:
            if refused.status not in (403, 404, 410):  # storage hosts answer 403 where nothing is
                raise
            return {}

    config = config_of(beside)
    if not config and not name.endswith(".gguf"):  # which says itself what it is
        note = f"no config.json beside {name}: fused matrices stay whole, quantized ones are refused."
        found = FileSet(found.files, found.index, found.promised, (*found.notes, note))
    return RemoteModel(shown(url), "", address, found, config, lambda refused: refused)


def _json(text: bytes, name: str) -> Mapping[str, Any]:
    content = _content(text, name)
    return content if isinstance(content, dict) else {}


def _content(text: bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: expected JSON, got {error}.") from error
