"""Files of pretrained networks: in a folder of the user's, or downloaded from the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.errors import Problem, RecipeError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_SECONDS = 5.0
"""Seconds for which the hub is waited for, where a file is not there yet."""

_REASONS = (
    ("OfflineModeIsEnabled", "HF_HUB_OFFLINE is set"),
    ("GatedRepoError", "its author lets only some people in (ask on its page, then `hf auth login`)"),
    ("RepositoryNotFoundError", "the hub has none of that name, or it is private (`hf auth login`)"),
    ("RevisionNotFoundError", "it has no such revision"),
    ("ConnectError", "the hub cannot be reached"),
    ("LocalEntryNotFoundError", "the hub cannot be reached"),
)


@dataclass(frozen=True)
class Source:
    """A pretrained network as a recipe names it.

    A folder of this machine is read as it is. Of a name of the hub, what was downloaded before is taken without asking
    the hub; only what is not there is fetched.

    Args:
        encoder: The encoder, for error messages.
        model: The folder, or the name of the hub.
        revision: The branch, tag or commit of a name; None for the main branch.
    """

    encoder: str
    model: str
    revision: str | None = None

    @property
    def folder(self) -> Path | None:
        """The folder of this machine; None of a name of the hub."""
        path = Path(os.path.expanduser(self.model))
        return path if os.path.isdir(path) else None

    def find(self, name: str) -> Path | None:
        """Finds a file; None where the network has none of that name.

        Raises:
            RecipeError: The network is neither a folder nor a name, or was not downloaded and cannot be.
        """
        if self.folder is not None:
            return self.folder / name if os.path.isfile(self.folder / name) else None
        if not _NAME.fullmatch(self.model):
            remedy = "name a folder with config.json, or a model of the hub as OWNER/NAME"
            raise self.refuse(f"there is no folder {os.path.expanduser(self.model)}", remedy)
        hub = self._import_hub()
        known = hub.try_to_load_from_cache(self.model, name, revision=self.revision)
        if known is not None:
            return Path(known) if isinstance(known, str) else None
        try:
            # Asked first, since a download would ask six times before it says that there is no connection.
            hub.get_hf_file_metadata(hub.hf_hub_url(self.model, name, revision=self.revision), timeout=_SECONDS)
            return Path(hub.hf_hub_download(self.model, name, revision=self.revision, etag_timeout=_SECONDS))
        except Exception as error:  # whatever the library raises of a repository or a connection
            kinds = {each.__name__ for each in type(error).__mro__}
            if "RemoteEntryNotFoundError" in kinds:
                return None
            raise self._refuse_absent(next((why for kind, why in _REASONS if kind in kinds), str(error))) from error

    def require(self, names: Sequence[str], remedy: str = "") -> Path:
        """Finds the first of some files that is there.

        Raises:
            RecipeError: None is.
        """
        for name in names:
            if found := self.find(name):
                return found
        raise self.refuse(f"{self.model} holds no {' nor '.join(names)}", remedy)

    def refuse(self, message: str, remedy: str = "") -> RecipeError:
        """Makes an error that names the option and the encoder."""
        return RecipeError([Problem("model", message, remedy)], source=self.encoder)

    def _refuse_absent(self, reason: str) -> RecipeError:
        at = f" --revision {self.revision}" if self.revision else ""
        fetch = f"fetch it where there is a network with `hf download {self.model}{at}`, or name a local folder"
        return self.refuse(f"{self.model} was not downloaded, and cannot be: {' '.join(reason.split())[:200]}", fetch)

    def _import_hub(self) -> Any:
        try:
            import huggingface_hub
        except ImportError:
            install = "install it with `pip install 'fusionkit-multimodal[transformers]'`"
            raise self.refuse("a model of the hub needs the package huggingface_hub", install) from None
        return huggingface_hub


def find_weights(source: Source) -> list[Path]:
    """Finds the safetensors files of a network; no other kind of file is read or fetched.

    Raises:
        RecipeError: There are none.
    """
    remedy = (
        "other formats can run code and are not read; a conversion by the hub may be at `revision: refs/pr/1`, or save "
        "the model once with save_pretrained and name that folder"
    )
    whole, index = "model.safetensors", "model.safetensors.index.json"
    found = source.require((whole, index), remedy)
    if found.name == whole:
        return [found]
    named = read_json(found, source).get("weight_map")
    names = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    if not names or any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise source.refuse(f"{found} lists no safetensors files beside it")
    return [source.require((name,)) for name in names]


def read_json(path: Path, source: Source) -> dict[str, Any]:
    """Reads a mapping that somebody else wrote.

    Raises:
        RecipeError: It is none.
    """
    import json

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # whatever json raises of somebody's file
        raise source.refuse(f"{path} cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise source.refuse(f"{path} holds no mapping")
    return data
