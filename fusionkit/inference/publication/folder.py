"""A folder that holds trained networks for others, written and opened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.config.yaml import write_yaml
from fusionkit.errors import RunError
from fusionkit.inference.calibration.novelty import read_novelty, write_novelty
from fusionkit.inference.publication.privacy import (
    find_private_folders,
    refuse_private_texts,
    scrub_card,
    scrub_environment,
    scrub_recipe,
)
from fusionkit.inference.publication.readme import Shared, write_readme
from fusionkit.storage.calibration_file import locate_calibration, read_calibration
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.new_folder import appear_at_the_end
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.document import load_document, save_document
from fusionkit.storage.records.publication import Member, Publication
from fusionkit.storage.run_folder import RunFolder
from fusionkit.version import __version__

if TYPE_CHECKING:
    from fusionkit.inference.predictor import Predictor

LIST = "fusionkit.json"
"""The file that makes a folder a shared one."""


def write_publication(predictor: Predictor, folder: Path) -> None:
    """Writes the networks of a predictor into a new folder, with their README, and nothing of this machine.

    Of each run: the recipe, the weights, what the network is given, the card and the calibration, if there are some.
    Paths become the names of files, commands, logs, predictions and names of groups stay at home.

    Raises:
        RunError: The folder is there and not empty, cannot be written, a private path is found in what was written, or
            the predictor comes from no run.
    """
    if not predictor.runs:
        remedy = "load a run or an experiment with `fusionkit.load` to share it"
        raise RunError(f"these networks come from no run folder; {remedy}")
    with appear_at_the_end(folder) as partial:
        _write_files(predictor, partial)


def open_publication(folder: Path) -> tuple[list[RunFolder], str]:
    """Opens the networks of a shared folder, which may be a stranger's, and the branch that answers.

    Raises:
        RunError: A file is missing or damaged, or weights are others than the list or the card says.
    """
    publication, runs = load_document(Publication, folder / LIST), []
    for name, member in publication.members.items():
        run = RunFolder.open(folder / name)
        if not os.path.exists(run.inputs_file):
            raise RunError(f"{run.path}: lacks inputs.json, so that nobody knows what the network is given")
        found = run.sha256_of_weights()
        stated = {LIST: member.weights_sha256}
        if os.path.exists(run.card_file):
            stated["metrics.json"] = run.read_card().weights_sha256
        for file, said in stated.items():
            if said != found:
                message = f"the weights have the hash {found[:12]}..., and {file} is of {said[:12]}..."
                raise RunError(f"{run.path}: {message}; download it again, or ask its author")
        runs.append(run)
    return runs, publication.branch


def is_publication(folder: Path) -> bool:
    """Tells whether a folder is a shared one."""
    return os.path.isfile(folder / LIST)


def list_files(networks: Sequence[str] = (".", "network_*")) -> list[str]:
    """Lists the patterns of the files that a shared folder may hold; all else is not downloaded."""
    own = ["recipe.yaml", "weights.safetensors", "inputs.json", "metrics.json", "calibration.json"]
    own += ["environment.json", "novelty.safetensors"]
    return [LIST, "README.md", *(file if name == "." else f"{name}/{file}" for name in networks for file in own)]


def _write_files(predictor: Predictor, folder: Path) -> None:
    alone = len(predictor.runs) == 1
    members, cards, private = dict[str, Member](), list[Card](), list[str]()
    for number, run in enumerate(predictor.runs):
        name = "." if alone else f"network_{number + 1}"
        private += find_private_folders(run.written_recipe)
        members[name], card = _write_member(run, predictor, folder / name)
        cards += [] if card is None else [card]
    publication = Publication(
        format=Publication.formats[-1], branch=predictor.main, members=members, versions={"fusionkit": __version__}
    )
    shared = Shared(
        recipe=scrub_recipe(predictor.runs[0].written_recipe),
        inputs=predictor.inputs,
        branch=predictor.main,
        cards=cards,
        calibration=read_calibration(predictor.runs[0]) if alone else None,
        networks=len(predictor.runs),
    )
    write_file(folder / "README.md", write_readme(shared).encode())
    save_document(folder / LIST, publication)
    refuse_private_texts(folder, sorted(set(private), key=len, reverse=True))


def _write_member(run: RunFolder, predictor: Predictor, folder: Path) -> tuple[Member, Card | None]:
    calibration, recipe = read_calibration(run), scrub_recipe(run.written_recipe)
    weights, about = run.load_weights()
    card = _read_card(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror})") from error
    new = RunFolder(folder)
    write_file(folder / "recipe.yaml", write_yaml(recipe).encode())
    write_file(folder / "environment.json", as_json(scrub_environment(run.environment.plain())))
    new.save_weights(weights, about)
    save_document(new.inputs_file, predictor.inputs)
    if card is not None:
        new.write_card(card)
    if calibration is not None:
        save_document(locate_calibration(new), calibration)
        write_novelty(new, read_novelty(run))
    fold = card.protocol.fold if card is not None else str(run.recipe.data.fold)
    return Member(weights_sha256=new.sha256_of_weights(), fold=fold, seed=run.recipe.train.seed), card


def _read_card(run: RunFolder) -> Card | None:
    """Reads the card of a run without what is private; None where it was not evaluated.

    Raises:
        RunError: It is damaged, or of other weights.
    """
    if not os.path.exists(run.card_file):
        return None
    card = run.read_card()
    if card.weights_sha256 != run.sha256_of_weights():
        raise RunError(f"{run.card_file}: is of other weights; make it again with `fusionkit evaluate`")
    plain: dict[str, Any] = scrub_card(card.plain())
    text = json.dumps(plain["recipe"], sort_keys=True, separators=(",", ":"))
    plain["recipe_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return Card.model_validate(plain)
