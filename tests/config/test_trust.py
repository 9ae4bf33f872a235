"""What is only looked at or evaluated again never imports a module that a file names, unless the user trusts it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer.main
from report_folders import results_of, write_results
from small_runs import recipe

import fusionkit
from fusionkit.cli import app, main
from fusionkit.config import trust
from fusionkit.config.recipe import load_recipe
from fusionkit.config.shipped_recipes import list_shipped_recipes
from fusionkit.data.sources import Datasets
from fusionkit.errors import FusionKitWarning, PluginError, RunError
from fusionkit.evaluation import evaluate
from fusionkit.experiments.agenda import refuse_foreign_runs
from fusionkit.experiments.job import Job, do
from fusionkit.storage import trusted_runs
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

CANARY = "canary_in_a_mine"
REFUSED = (
    f"plugins[0]: the module '{CANARY}' is not imported: that would run it, and this run is not one that you trained "
    f"here; if you trust the module, add --plugin {CANARY} to the command, or call fusionkit.allow('{CANARY}') first"
)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path of modules, with a module that leaves a file ``sang`` wherever it is imported."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / f"{CANARY}.py").write_text(f"open({str(folder / 'sang')!r}, 'a').close()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        yield folder


@pytest.fixture
def sang(mine: Path) -> Iterator[Callable[[], bool]]:
    """Says whether the module was imported, as if no test before had."""
    (mine / "sang").unlink(missing_ok=True)
    sys.modules.pop(CANARY, None)
    yield (mine / "sang").exists
    sys.modules.pop(CANARY, None)
    trust._ALLOWED.clear()


@pytest.fixture(scope="module")
def trained(mine: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of this user's whose recipe lists the module."""
    run = train(
        {**recipe(epochs=1), "plugins": [CANARY]}, tmp_path_factory.mktemp("trained") / "run", accelerator="cpu"
    )
    evaluate(run, device="cpu", resamples=2)
    return run


@pytest.fixture(scope="module")
def copied(trained: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run as somebody else receives it."""
    return Path(shutil.copytree(trained.path, tmp_path_factory.mktemp("received") / "run"))


@pytest.fixture(scope="module")
def experiment(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's experiment, whose only run is that one."""
    results = results_of(folds=("A",))
    folder = write_results(tmp_path_factory.mktemp("received") / "experiment", results)
    for name in {row["run"] for row in results["rows"]}:
        shutil.copytree(copied, folder / name)
    return folder


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


OPENED = {
    "evaluate a run": ("evaluate", "{run}"),
    "verify a run": ("verify", "{run}"),
    "verify a card": ("verify", "{run}/metrics.json"),
    "predict with a run": ("predict", "{run}", "new.csv"),
    "predict over time": ("timeline", "{run}", "new.wav"),
    "predict live": ("live", "{run}"),
    "serve a run": ("serve", "{run}", "--port", "0"),
    "export a run": ("export", "{run}", "--out", "{run}/../exported"),
    "share a run": ("share", "{run}", "--out", "{run}/../shared"),
    "calibrate a run": ("calibrate", "{run}"),
    "diagnose a run": ("diagnose", "{run}"),
    "diagnose against runs of networks trained alone": ("diagnose", "{own}", "--alone", "{run}"),
    "diagnose the runs of an experiment": ("diagnose", "{experiment}/runs"),
    "stress a run": ("stress", "{run}"),
    "stress an experiment": ("stress", "{experiment}"),
}
"""Commands that evaluate what somebody else trained."""


@pytest.mark.parametrize("arguments", OPENED.values(), ids=OPENED)
def test_a_command_that_evaluates_a_received_run_imports_nothing_and_names_the_module_the_file_and_what_to_do(
    arguments, copied, experiment, request, capsys
):
    sang = request.getfixturevalue("sang")
    own = request.getfixturevalue("own_without_plugins") if "{own}" in arguments else ""
    said = [each.format(run=copied, experiment=experiment, own=own) for each in arguments]

    assert ended(*said) == 2

    told = capsys.readouterr().err
    assert not sang()
    assert f"recipe.yaml: line 3: {REFUSED}" in told
    assert "Traceback" not in told


@pytest.fixture(scope="module")
def own_without_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(epochs=1), tmp_path_factory.mktemp("own") / "run", accelerator="cpu").path


@pytest.mark.slow  # it draws; that a report opens no recipe, its other tests show
def test_a_report_of_a_received_experiment_imports_nothing(experiment, tmp_path, sang):
    assert ended("report", experiment, "--out", tmp_path) == 0

    assert not sang()
    assert (tmp_path / "report.html").is_file()


def arguments_of(command):
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def test_every_command_that_takes_a_folder_or_a_card_is_among_these_tests():
    commands = typer.main.get_command(app).commands
    takes = {
        name
        for name, command in commands.items()
        if any(parameter.metavar in ("RUN", "RUN...", "CARD", "FOLDER") for parameter in arguments_of(command))
    }
    assert takes == {arguments[0] for arguments in OPENED.values()} | {"report"}


def test_a_recipe_that_comes_with_the_library_lists_no_module():
    assert list_shipped_recipes()
    for path in list_shipped_recipes().values():
        assert "plugins" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [("evaluate",), ("verify",)], ids=lambda command: command[0])
def test_plugin_on_the_command_line_lets_a_received_run_import_that_module(command, copied, sang):
    assert ended(*command, copied, "--plugin", CANARY, "--json") == 0
    assert sang()


def test_another_module_on_the_command_line_lets_it_import_nothing(copied, sang):
    assert ended("verify", copied, "--plugin", "json") == 2
    assert not sang()


def test_allow_lets_a_received_run_import_that_module(copied, sang):
    with pytest.raises(PluginError, match="is not imported"):
        _ = RunFolder.open(copied).recipe
    assert not sang()

    fusionkit.allow(CANARY)

    assert RunFolder.open(copied).recipe.plugins == (CANARY,)
    assert sang()


def test_a_module_of_an_installed_plugin_needs_no_word(copied, sang, monkeypatch):
    point = importlib.metadata.EntryPoint("canary", f"{CANARY}:anything", "fusionkit.plugins")
    monkeypatch.setattr(trust, "entry_points", lambda group: [point] if group == "fusionkit.plugins" else [])

    assert RunFolder.open(copied).recipe.plugins == (CANARY,)


def test_every_refused_module_is_listed_and_what_is_allowed_among_them_is_not_imported_either(copied, tmp_path, sang):
    run = Path(shutil.copytree(copied, tmp_path / "run"))
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace(f"- {CANARY}", f"- {CANARY}\n- one.more\n- antigravity"))
    fusionkit.allow(CANARY)

    with pytest.raises(PluginError) as refused:
        _ = RunFolder.open(run).recipe

    assert [problem.place for problem in refused.value.problems] == ["line 4: plugins[1]", "line 5: plugins[2]"]
    assert not sang()


def test_a_run_of_ones_own_is_evaluated_again_without_a_word(trained, sang):
    assert ended("evaluate", trained.path, "--json") == 0
    assert ended("verify", trained.path) == 0
    assert sang()


def test_a_link_to_a_run_of_ones_own_is_that_run_and_a_link_to_a_received_one_is_not(trained, copied, tmp_path, sang):
    (tmp_path / "own").symlink_to(trained.path)
    (tmp_path / "received").symlink_to(copied)

    with pytest.raises(PluginError):
        _ = RunFolder.open(tmp_path / "received").recipe
    assert not sang()
    assert RunFolder.open(tmp_path / "own").recipe.plugins == (CANARY,)


def test_a_relative_path_to_a_run_of_ones_own_is_that_run(trained, monkeypatch, sang):
    monkeypatch.chdir(trained.path.parent)

    assert RunFolder.open("run").recipe.plugins == (CANARY,)


def test_a_run_whose_recipe_was_changed_since_is_not_ones_own(trained, tmp_path, sang):
    moved = RunFolder(shutil.copytree(trained.path, tmp_path / "run"), plugins=(CANARY,))
    moved.note_as_own()
    assert RunFolder.open(moved.path).recipe.plugins == (CANARY,)
    sang_before = sang()

    text = (moved.path / "recipe.yaml").read_text()
    (moved.path / "recipe.yaml").write_text(text.replace(CANARY, "antigravity"))

    assert sang_before
    with pytest.raises(PluginError, match="'antigravity'"):
        _ = RunFolder.open(moved.path).recipe


def test_a_received_run_in_the_place_of_ones_own_with_other_modules_is_refused(trained, tmp_path, sang):
    own = RunFolder(shutil.copytree(trained.path, tmp_path / "run"), plugins=(CANARY,))
    own.note_as_own()
    shutil.rmtree(own.path)
    own.path.mkdir()
    (own.path / "environment.json").write_text("{}")
    (own.path / "recipe.yaml").write_text("schema: 1\nplugins: [antigravity]\n")

    with pytest.raises(PluginError, match="'antigravity'"):
        _ = RunFolder.open(own.path).recipe


def test_training_into_a_received_folder_of_another_recipe_imports_nothing_of_it(copied, sang):
    with pytest.raises(RunError, match=rf"a run of another recipe; different: .*plugins\[0\].*{CANARY}"):
        train(recipe(epochs=1), copied, accelerator="cpu")

    assert not sang()


def test_an_experiment_into_a_folder_of_received_runs_imports_nothing_of_them(copied, sang):
    job = Job("one", "A", 0, load_recipe(recipe(epochs=1)), str(copied))

    with pytest.raises(RunError, match="holds runs of another recipe"):
        refuse_foreign_runs([job], copied.parent, None)

    assert not sang()


def test_a_run_of_ones_own_experiment_that_was_moved_goes_on_since_its_file_lists_the_module(copied, sang):
    job = Job("one", "A", 0, RunFolder(copied, plugins=(CANARY,)).recipe, str(copied))

    refuse_foreign_runs([job], copied.parent, None)

    assert do(job, Datasets()) is None


def test_ones_own_recipe_goes_on_with_a_run_that_was_moved_and_makes_it_ones_own(copied, tmp_path, sang):
    moved = shutil.copytree(copied, tmp_path / "run")
    with pytest.raises(PluginError):
        _ = RunFolder.open(moved).recipe

    run = train({**recipe(epochs=1), "plugins": [CANARY]}, moved, accelerator="cpu")

    assert sang()
    assert run.recipe.plugins == RunFolder.open(moved).recipe.plugins == (CANARY,)


@pytest.mark.usefixtures("sang")
@pytest.mark.parametrize("where", ["a file stands there", "no home"])
def test_a_list_that_cannot_be_written_stops_no_training_and_says_what_later_commands_need(
    where, copied, tmp_path, monkeypatch
):
    (tmp_path / "state").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state") if where == "a file stands there" else "relative")
    monkeypatch.setattr(Path, "home", _no_home)
    moved = shutil.copytree(copied, tmp_path / "run")

    said = rf"cannot be noted as your own run \(.*\); later commands on it need --plugin {CANARY}"
    with pytest.warns(FusionKitWarning, match=said):
        run = train({**recipe(epochs=1), "plugins": [CANARY]}, moved, accelerator="cpu")

    assert evaluate(run, device="cpu", resamples=2).plain()["recipe"]["plugins"] == [CANARY]
    with pytest.raises(PluginError):
        _ = RunFolder.open(moved).recipe


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_list_is_in_the_users_state_folder_and_none_but_the_user_may_read_it(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)

    trusted_runs.note_run(trained.path, trained.path / "recipe.yaml")

    folder = tmp_path / ".local" / "state" / "fusionkit" / "own_runs"
    (entry,) = folder.iterdir()
    assert json.loads(entry.read_text())["run"] == str(trained.path.resolve())
    assert (folder.stat().st_mode & 0o077) == 0
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "trained_network.md").read_text()
    assert f"`~/{folder.relative_to(tmp_path).as_posix()}`" in page


def test_runs_that_are_noted_at_the_same_time_are_all_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    runs = [tmp_path / f"run{number}" for number in range(40)]
    for run in runs:
        run.mkdir()
        (run / "recipe.yaml").write_text(run.name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda run: trusted_runs.note_run(run, run / "recipe.yaml"), runs))

    assert all(trusted_runs.is_noted(run, run / "recipe.yaml") for run in runs)
    assert not trusted_runs.is_noted(runs[0], runs[1] / "recipe.yaml")


@pytest.mark.parametrize("content", [b"", b"null", b"\xff\x00", b"[" * 100_000, b"{}"])
def test_an_entry_of_the_list_that_is_damaged_trusts_nothing(content, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "recipe.yaml").write_text("")
    trusted_runs.note_run(tmp_path, tmp_path / "recipe.yaml")
    (entry,) = (tmp_path / "state" / "fusionkit" / "own_runs").iterdir()
    entry.write_bytes(content)

    assert not trusted_runs.is_noted(tmp_path, tmp_path / "recipe.yaml")


def test_a_run_without_plugins_is_not_noted_and_opens_wherever_it_lies(own_without_plugins, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    moved = RunFolder(shutil.copytree(own_without_plugins, tmp_path / "run"))

    moved.note_as_own()

    assert not (tmp_path / "state").exists()
    assert moved.recipe.plugins == ()
