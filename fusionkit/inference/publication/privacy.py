"""Records without the paths, commands and names of the machine that made them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from fusionkit.config.schema import PrepareSpec
from fusionkit.errors import RunError

_PATH = re.compile(r"(?<![\w.:/\\])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:;,'\"()\[\]{}<>|]+){2,}[/\\]?")
"""A path in a text: at least two names behind slashes, and no address of the web."""

_KEPT_OF_TRAINING = ("fusionkit", "torch", "python", "commit", "uncommitted_changes", "device", "platform")


def find_private_folders(recipe: Mapping[str, Any]) -> list[str]:
    """Finds the folders of this machine that a text of a run may name, longest first; not such as ``/data``.

    Args:
        recipe: The recipe as plain data: where its data lie is private.
    """
    named = [os.path.expandvars(os.path.expanduser(text)) for text in _list_texts(recipe.get("data"))]
    absolute = [text.rstrip("/\\") for text in named if os.path.isabs(text)]
    # Beside a table lie the files that its rows name.
    folders = {str(Path.home()), os.getcwd(), *absolute, *(os.path.dirname(text) for text in absolute)}
    return sorted((folder for folder in folders if len(Path(folder).parts) > 2), key=len, reverse=True)


def hide_paths(text: str, private: Iterable[str] = ()) -> str:
    """Replaces every path in a text by its last name.

    Args:
        text: The text.
        private: Folders that may hold spaces, longest first.

    Example:
        >>> hide_paths("no face in /home/ann/films/a.mp4; see https://doi.org/10.3390/s21165452")
        'no face in a.mp4; see https://doi.org/10.3390/s21165452'
    """
    for folder in private:
        text = text.replace(f"{folder}{os.sep}", "").replace(folder, _take_name(folder))
    return _PATH.sub(lambda found: _take_name(found[0]), text)


def scrub_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recipe of plain data without paths: data keep the names of files, encoders forget where they began."""
    scrubbed: dict[str, Any] = {
        key: _hide_within(of, of_data=key == "data", private=find_private_folders(recipe)) for key, of in recipe.items()
    }
    if isinstance(prepare := scrubbed.get("data", {}).get("prepare"), dict) and "cache" in prepare:
        prepare["cache"] = PrepareSpec.model_fields["cache"].default
    for modality in scrubbed.get("model", {}).get("modalities", {}).values():
        for encoder in modality.get("encoder", ()):
            if isinstance(encoder, dict) and encoder.get("weights") is not None:
                encoder["weights"] = None
    return scrubbed


def scrub_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a card of plain data without paths, names of groups and the command of the training."""
    private = find_private_folders(card["recipe"])
    scrubbed: dict[str, Any] = {
        key: of if key == "recipe" else _hide_within(of, of_data=False, private=private) for key, of in card.items()
    }
    scrubbed["recipe"] = scrub_recipe(card["recipe"])
    scrubbed["starts"] = {
        name: ", ".join(_hide_within(each, of_data=True, private=()) for each in start.split(", "))
        for name, start in card.get("starts", {}).items()
    }
    scrubbed["protocol"] = {**scrubbed["protocol"], "test_groups": []}
    scrubbed["training"] = scrub_environment(card["training"])
    return scrubbed


def scrub_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the environment of a training without its command: versions, commit, device and platform."""
    return {key: of for key, of in environment.items() if key in _KEPT_OF_TRAINING}


def refuse_private_texts(folder: Path, private: Iterable[str]) -> None:
    """Reads what was written once more and refuses it where it names a private folder.

    Raises:
        RunError: Some files do; all of these are removed.
    """
    told, refused = list(private), list[str]()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = _read_texts(file)
        if found := [each for each in told if each.encode() in content]:
            file.unlink()
            name, remedy = file.relative_to(folder), "take that out of the recipe or the data"
            refused.append(f"{name}: was not shared, for it names {found[0]}; {remedy}")
    if refused:
        more = f"; and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise RunError(f"{refused[0]}{more}")


def _read_texts(file: Path) -> bytes:
    """Reads a file, of tensors only their names and the texts beside them."""
    with file.open("rb") as stream:
        if file.suffix != ".safetensors":
            return stream.read()
        return stream.read(int.from_bytes(stream.read(8), "little"))


def _hide_within(value: Any, *, of_data: bool, private: Iterable[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide_within(of, of_data=of_data, private=private) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_hide_within(of, of_data=of_data, private=private) for of in value]
    if not isinstance(value, str):
        return value
    is_path = of_data and ("/" in value or "\\" in value or value.startswith("~"))
    return _take_name(value) if is_path else hide_paths(value, private)


def _take_name(path: str) -> str:
    """Takes the last name of a path of any system."""
    name = PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
    return "" if name in ("~", "..", ".") or name.startswith("${") else name


def _list_texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for of in value.values() for text in _list_texts(of)]
    if isinstance(value, list | tuple):
        return [text for of in value for text in _list_texts(of)]
    return [value] if isinstance(value, str) else []
