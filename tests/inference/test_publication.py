"""A shared network answers as the run does, and says nothing of the machine where it was trained."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
import small_runs
import small_tables
import torch
import yaml

import fusionkit
from fusionkit.errors import FusionKitError, PluginError, RecipeError, RunError
from fusionkit.evaluation import evaluate
from fusionkit.evaluation.calibration import calibrate
from fusionkit.inference.backend import TrainedBackend
from fusionkit.inference.predictor import Predictor
from fusionkit.inference.publication.folder import list_files
from fusionkit.inference.publication.hub import download, parse_address
from fusionkit.inference.publication.privacy import hide_paths, refuse_private_texts
from fusionkit.storage.records.card import Card
from fusionkit.storage.run_folder import RunFolder

SAMPLES = [{"motion": torch.ones(4, 3), "posture": torch.ones(4)}, {"posture": torch.zeros(4)}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    data = {**small_runs.RECIPE["data"]["dataset"], "groups": 12}
    options: dict[str, Any] = {"select": "inner", "inner_fraction": 0.5, "epochs": 1}
    run = small_runs.run_of(tmp_path_factory.mktemp("runs") / "run", data={"dataset": data}, **options)
    evaluate(run, device="cpu", resamples=20)
    calibrate(run, 0.75, device="cpu")
    return run


@pytest.fixture(scope="module")
def shared(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "network"
    fusionkit.load(run.path, device="cpu").save_pretrained(folder)
    return folder


@pytest.fixture
def copied(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "copied"))


def test_a_shared_network_answers_as_the_run_bit_for_bit(run: RunFolder, shared: Path) -> None:
    own, others = (fusionkit.load(folder, device="cpu") for folder in (run.path, shared))

    for level in (None, 0.75):
        answers = [each.predict(SAMPLES, branches=True, level=level) for each in (own, others)]
        assert [one.plain() for one in answers[0]] == [one.plain() for one in answers[1]]
    assert own.identity == others.identity


def test_it_holds_no_file_but_those_that_are_listed_and_no_pickle(shared: Path) -> None:
    files = {file.relative_to(shared).as_posix() for file in shared.rglob("*")}

    assert files == {name for name in list_files() if "network_" not in name}
    assert {Path(name).suffix for name in files} <= {".json", ".yaml", ".md", ".safetensors"}


def test_nothing_of_the_author_s_machine_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home of ann.smith"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["fusionkit", "train", "--secret-option", str(home)])
    table = small_tables.write_table(home / "patients 2026")
    run = small_tables.finished_run(home / "runs" / "first", table)
    card = json.loads(run.card_file.read_text())
    card["notes"] = [f"2 files of {table.parent}/sub folder/a.wav are damaged.", "see ~/notes/of ann.txt"]
    card["starts"] = {"sound": f"{home}/encoders/voice.safetensors"}
    run.card_file.write_text(json.dumps(card))
    assert str(home).encode() in (run.path / "recipe.yaml").read_bytes()

    fusionkit.load(run.path, device="cpu").save_pretrained(tmp_path / "shared")

    found = {file.name: file.read_bytes() for file in (tmp_path / "shared").iterdir()}
    assert set(found) >= {"README.md", "recipe.yaml", "metrics.json", "inputs.json", "weights.safetensors"}
    for private in (str(tmp_path), "ann.smith", "patients 2026", "--secret-option", "/encoders"):
        assert not [name for name, content in found.items() if private.encode() in content], private
    assert json.loads(found["metrics.json"])["protocol"]["test_groups"] == [] != card["protocol"]["test_groups"]
    recipe = yaml.safe_load(found["recipe.yaml"])
    assert recipe["data"]["dataset"]["path"] == "samples.csv"
    assert json.loads(found["metrics.json"])["starts"] == {"sound": "voice.safetensors"}
    shutil.rmtree(home)  # neither the data nor the run are needed
    answers = fusionkit.load(tmp_path / "shared", device="cpu").predict({"room": [20.0, 0.5]})
    assert answers[0].targets["load"].prediction


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("a /home/ann/b.mp4, twice", "a b.mp4, twice"),
        ("in ~/data/set it is", "in set it is"),
        (r"C:\Users\ann\a.wav is damaged", "a.wav is damaged"),
        ("https://doi.org/10.3390/s21165452 and 3/4 of A/B", "https://doi.org/10.3390/s21165452 and 3/4 of A/B"),
        ("(/data/x/y)", "(y)"),
        ("/secret place/inner one/z.wav", "z.wav"),
    ],
)
def test_paths_become_their_last_names(text: str, hidden: str) -> None:
    assert hide_paths(text, ["/secret place/inner one"]) == hidden


def test_what_still_names_a_private_folder_is_not_left(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("made in /home/ann")
    (tmp_path / "metrics.json").write_text('{"by": "/home/ann/cards"}')
    (tmp_path / "recipe.yaml").write_text("schema: 1")
    with pytest.raises(RunError, match=r"README.md: was not shared, for it names /home/ann.*; and 1 more"):
        refuse_private_texts(tmp_path, ["/home/ann"])
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_the_readme_states_the_card_and_leaves_the_licence_to_the_author(run: RunFolder, shared: Path) -> None:
    text = (shared / "README.md").read_text()
    card, of = run.read_card(), run.read_card().targets["label"].branches["fused"]
    metric = of.metrics["accuracy"]

    assert metric.value is not None
    assert metric.limits is not None
    low, high = (f"{100 * limit:.1f} %" for limit in metric.limits)
    assert f"| label | fused | accuracy | {100 * metric.value:.1f} % | {low} to {high} |" in text
    assert card.protocol.split_hash in text
    assert card.protocol.label in text
    assert "Sets and intervals of level 0.75" in text
    assert text.count("*to be filled in by the author*") == 3
    assert not re.search(r"^license:", text, re.MULTILINE)
    data = huggingface_hub.ModelCard(text).data
    assert data.to_dict()["library_name"] == "fusionkit"
    assert data.eval_results is not None
    assert data.eval_results[0].metric_value == pytest.approx(metric.value)


def test_a_network_that_was_not_evaluated_says_so(run: RunFolder, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(run.path, tmp_path / "bare", ignore=shutil.ignore_patterns("metrics.json", "cal*")))
    fusionkit.load(bare, device="cpu").save_pretrained(tmp_path / "shared")
    text = (tmp_path / "shared" / "README.md").read_text()
    assert "It was not evaluated: no figures are known." in text
    assert "The honesty of its probabilities: it is not calibrated." in text
    assert huggingface_hub.ModelCard(text).data.eval_results is None


def test_several_networks_are_shared_as_they_answer_together(run: RunFolder, tmp_path: Path) -> None:
    other = small_runs.run_of(tmp_path / "other", data=run.recipe.plain()["data"], epochs=1, seed=1)
    evaluate(other, device="cpu", resamples=20)
    first, second = (fusionkit.load(each.path, device="cpu") for each in (run, other))
    both = Predictor(
        TrainedBackend((*first.networks, *second.networks), first.branches, run.recipe, device="cpu"),
        first.steps,
        main="posture",
        runs=(*first.runs, *second.runs),
    )

    both.save_pretrained(tmp_path / "shared")

    loaded = fusionkit.load(tmp_path / "shared", device="cpu")
    assert (len(loaded.networks), loaded.main) == (2, "posture")
    assert [one.plain() for one in loaded.predict(SAMPLES)] == [one.plain() for one in both.predict(SAMPLES)]
    assert "2 networks of the same recipe answer together" in (tmp_path / "shared" / "README.md").read_text()
    with pytest.raises(RunError, match="several networks answer together, whose mean nobody calibrated"):
        loaded.predict(SAMPLES, level=0.75)


def test_weights_that_are_others_than_stated_are_refused(copied: Path, run: RunFolder) -> None:
    weights, about = run.load_weights()
    changed = {name: of + 1 if of.is_floating_point() else of for name, of in weights.items()}
    RunFolder(copied).save_weights(changed, about)
    with pytest.raises(RunError, match=r"the weights have the hash .*, and fusionkit.json is of .*; download it again"):
        fusionkit.load(copied, device="cpu")
    listed = json.loads((copied / "fusionkit.json").read_text())
    listed["members"]["."]["weights_sha256"] = RunFolder(copied).sha256_of_weights()
    (copied / "fusionkit.json").write_text(json.dumps(listed))
    with pytest.raises(RunError, match=r"and metrics.json is of"):
        fusionkit.load(copied, device="cpu")


def test_a_stranger_s_plugin_is_not_imported_unless_it_is_allowed(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_plugin.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = yaml.safe_load((copied / "recipe.yaml").read_text())
    (copied / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "plugins": ["evil_plugin"]}))
    with pytest.raises(PluginError, match="the module 'evil_plugin' is not imported"):
        fusionkit.load(copied, device="cpu")
    assert "evil_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("fusionkit.json", {"members": {"../../etc": {"weights_sha256": "", "fold": "", "seed": 0}}}, "is damaged"),
        ("fusionkit.json", {"members": {}}, "is damaged"),
        ("fusionkit.json", {"branch": "sound"}, "the branch 'sound' is not trained"),
        ("fusionkit.json", {"format": 7}, "a shared network of format 7"),
        ("inputs.json", {"modalities": 3}, "is damaged"),
        ("metrics.json", {"weights_sha256": 3}, "is damaged"),
        ("calibration.json", {"branches": {"fused": 3}}, "is damaged"),
    ],
)
def test_a_stranger_s_documents_are_checked(copied: Path, file: str, change: dict[str, Any], said: str) -> None:
    document = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps({**document, **change}))
    with pytest.raises(RunError, match=said):
        fusionkit.load(copied, device="cpu")


def test_a_stranger_s_recipe_is_checked_and_its_data_are_never_opened(copied: Path) -> None:
    recipe = yaml.safe_load((copied / "recipe.yaml").read_text())
    (copied / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "run_me": "rm"}))
    with pytest.raises(RecipeError, match="run_me"):
        fusionkit.load(copied, device="cpu")
    (copied / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (copied / "inputs.json").unlink()
    with pytest.raises(RunError, match=r"lacks inputs.json, so that nobody knows what the network is given"):
        fusionkit.load(copied, device="cpu")


def test_a_folder_that_holds_something_is_left_alone(run: RunFolder, shared: Path) -> None:
    before = (shared / "README.md").read_bytes()
    with pytest.raises(RunError, match="is not empty; take a new or empty folder"):
        fusionkit.load(run.path, device="cpu").save_pretrained(shared)
    assert (shared / "README.md").read_bytes() == before


@pytest.mark.parametrize("is_there", [False, True])
def test_sharing_that_fails_midway_leaves_nothing_and_may_be_tried_again(
    is_there: bool, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RunError("the disk is full")

    out, predictor = tmp_path / "network", fusionkit.load(run.path, device="cpu")
    if is_there:
        out.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("fusionkit.inference.publication.folder.write_readme", refuse)
        with pytest.raises(RunError, match="the disk is full"):
            predictor.save_pretrained(out)
    assert list(tmp_path.rglob("*")) == ([out] if is_there else [])

    predictor.save_pretrained(out)
    assert fusionkit.load(out, device="cpu").predict(SAMPLES)[0].present == ("motion", "posture")


@pytest.mark.parametrize("text", ["hf://emotions", "hf://ann/emotions@", "hf://../x", "hf://ann/a b"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FusionKitError, match="is no address of a hub; write hf://owner/name"):
        parse_address(text)


def cache_of(folder: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The cache of huggingface_hub, without a network, that holds a shared folder as ann/emotions at main."""
    commit = "1" * 40
    repository = folder / "models--ann--emotions"
    shutil.copytree(shared, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return commit


def test_a_network_that_was_downloaded_is_loaded_without_a_connection(
    run: RunFolder, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = cache_of(tmp_path, shared, monkeypatch)
    own = fusionkit.load(run.path, device="cpu").predict(SAMPLES)

    for address in ("hf://ann/emotions", f"hf://ann/emotions@{commit}"):
        loaded = fusionkit.load(address, device="cpu").predict(SAMPLES)
        assert [one.plain() for one in loaded] == [one.plain() for one in own]
    with pytest.raises(
        RunError, match=r"hf://ann/other: cannot be downloaded; it was not downloaded before, and there"
    ):
        fusionkit.load("hf://ann/other", device="cpu")


def test_what_is_no_shared_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    cache_of(tmp_path / "cache", folder, monkeypatch)
    with pytest.raises(RunError, match=r"holds no fusionkit.json, so it is no network that `fusionkit share` made"):
        download("hf://ann/emotions")


class FakeApi:
    """The hub, as far as uploads know it."""

    sent: dict[str, Any]

    def __init__(self, token: str | None = None) -> None:
        FakeApi.sent = {"token": token}

    def create_repo(self, repository: str, **options: Any) -> None:
        self.sent |= {"repository": repository, **options}

    def create_branch(self, repository: str, *, branch: str, exist_ok: bool) -> None:
        self.sent["branch"] = branch

    def upload_folder(self, *, folder_path: Path, **options: Any) -> Any:
        self.sent |= options | {"files": sorted(file.name for file in folder_path.iterdir())}
        return SimpleNamespace(commit_url="https://huggingface.co/ann/emotions/commit/1")


def test_a_network_is_sent_to_a_repository_that_only_its_owner_sees(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    predictor = fusionkit.load(run.path, device="cpu")

    assert predictor.push_to_hub("ann/emotions", token="t").endswith("/commit/1")
    assert (FakeApi.sent["repository"], FakeApi.sent["private"], FakeApi.sent["token"]) == ("ann/emotions", True, "t")
    assert FakeApi.sent["files"] == sorted(name for name in list_files() if "network_" not in name)
    assert command("share", run.path, "--to", "hf://ann/emotions@v2", "--public").status == 0
    assert (FakeApi.sent["branch"], FakeApi.sent["revision"], FakeApi.sent["private"]) == ("v2", "v2", False)


def test_a_hub_that_refuses_is_said(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match=r"hf://ann/emotions: cannot be uploaded; HF_HUB_OFFLINE is set"):
        fusionkit.load(run.path, device="cpu").push_to_hub("ann/emotions")


def test_the_command_shares_and_refuses_what_is_half_said(command: Any, run: RunFolder, tmp_path: Path) -> None:
    ended = command("share", run.path, "--out", tmp_path / "out", "--json")
    assert ended.record == {"where": str(tmp_path / "out"), "networks": 1, "branch": "fused"}
    assert Card.model_validate_json((tmp_path / "out" / "metrics.json").read_text()).protocol.test_groups == []
    for arguments, said in (
        ((run.path,), "give either --out FOLDER, or --to hf://owner/name"),
        ((run.path, "--to", "ann/emotions"), "is no address of a hub"),
        ((run.path, "--out", tmp_path / "out"), "is not empty; take a new or empty folder"),
        ((tmp_path / "nowhere", "--out", tmp_path / "new"), "is no folder"),
        ((tmp_path / "out", "--out", tmp_path / "new", "--fold", "1"), "is a shared network, not an experiment"),
    ):
        refused = command("share", *arguments)
        assert (refused.status, said in " ".join(refused.err.split())) == (2, True), refused.err
