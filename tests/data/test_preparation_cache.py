"""The cache of prepared clips: what is there is kept, what has changed is done anew, a kill loses nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from written_films import Films, spec_for, steps, tone, write_film, write_sound

from fusionkit.data.films import Preparation, PreparedDataset, prepare
from fusionkit.errors import DataError, RunError
from fusionkit.interfaces import Clip

PLUGIN = '''
from pathlib import Path
from written_films import Films
from fusionkit.interfaces import Clip
from fusionkit.config.components.registry import DATASETS


@DATASETS.register("folder_of_films")
class FolderOfFilms(Films):
    """Every film of a folder."""

    def __init__(self, *, folder: str) -> None:
        super().__init__({path.stem: Clip(path) for path in sorted(Path(folder).glob("*.mp4"))})
'''


def clips_in(folder: Path, count: int = 3) -> dict[str, Clip]:
    films = [write_film(folder / f"c{i}.mp4", steps(10 + i), wave=tone(1.2)) for i in range(count)]
    return {film.stem: Clip(film) for film in films}


def files(done: Preparation | Path) -> dict[str, Path]:
    folder = done if isinstance(done, Path) else done.folder
    return {path.name: path for path in sorted(folder.glob("*.safetensors"))}


def changes(done: Preparation | Path) -> dict[str, int]:
    return {name: path.stat().st_mtime_ns for name, path in files(done).items()}


def contents(done: Preparation | Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files(done).items()}


def run(films: Films, cache: Path, *, retry: bool = False, **keys: object) -> Preparation:
    return prepare(films, spec_for(cache, **keys), kind="films", processes=1, retry=retry)


def test_a_second_preparation_keeps_every_clip(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    first = run(films, tmp_path / "cache")
    before = changes(first)

    second = run(films, tmp_path / "cache")

    assert (first.kept, second.kept) == (0, 3)
    assert changes(second) == before
    assert second.records == first.records


def test_a_film_that_has_changed_is_prepared_anew_and_nothing_stale_is_used(tmp_path: Path) -> None:
    clips = clips_in(tmp_path)
    before = changes(run(Films(clips), tmp_path / "cache"))
    write_film(tmp_path / "c1.mp4", steps(17), wave=tone(1.2))

    with pytest.raises(DataError, match="1 of 3 clips are not prepared, or have changed since"):
        PreparedDataset(Films(clips), spec_for(tmp_path / "cache"), kind="films").require_prepared()
    again = run(Films(clips), tmp_path / "cache")

    assert (again.kept, again.records["c1"].lengths["video"]) == (2, 17)
    assert before.items() <= changes(again).items()
    prepared = PreparedDataset(Films(clips), spec_for(tmp_path / "cache"), kind="films")
    assert len(prepared.load(1)["video"]) == prepared.length(1, "video") == 17


@pytest.mark.parametrize(
    "keys", [{"frame_rate": 20}, {"sample_rate": 8000}, {"face": {"size": 24}}, {"silent": "drop"}]
)
def test_other_settings_have_a_folder_of_their_own(keys: dict[str, object], tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path, 1))

    folders = {run(films, tmp_path / "cache").folder, run(films, tmp_path / "cache", **keys).folder}

    assert len(folders) == 2
    assert all(len(files(folder)) == 1 for folder in folders)


def test_without_the_manifest_the_files_say_the_same(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    first = run(films, tmp_path / "cache")
    manifest = first.folder / "manifest.json"
    said = manifest.read_bytes()
    for damage in (
        manifest.unlink,
        lambda: manifest.write_bytes(said[:99]),
        lambda: manifest.write_text('{"clips": 1}'),
        lambda: manifest.write_bytes(said.replace(b'"bytes": ', b'"bytes": "x", "was": ', 1)),
        lambda: manifest.write_bytes(said.replace(b'"bytes": ', b'"bytes": 1e999, "was": ', 1)),
        lambda: manifest.write_bytes(said.replace(b'"prepared"', b'"weird"')),
    ):
        damage()

        second = run(films, tmp_path / "cache")

        assert (second.kept, second.records) == (3, first.records)
        assert manifest.read_bytes() == said


def test_a_cache_that_cannot_be_written_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = Films(clips_in(tmp_path, 1))
    manifest = run(films, tmp_path / "cache").folder / "manifest.json"

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    write_film(tmp_path / "c0.mp4", steps(17), wave=tone(1.2))

    with pytest.raises(RunError, match=r"manifest.json: cannot be written \(Read-only file system\)"):
        run(films, tmp_path / "cache")
    assert manifest.is_file()


def test_a_damaged_clip_is_done_again(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    first = run(films, tmp_path / "cache")
    whole = contents(first)
    file = next(iter(files(first).values()))
    for damaged in (whole[file.name][:-100], b"", b"no clip"):
        file.write_bytes(damaged)

        second = run(films, tmp_path / "cache")

        assert second.kept == 2
        assert contents(second) == whole


def test_a_clip_that_a_failure_of_the_machine_has_damaged_is_done_again(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    first = run(films, tmp_path / "cache")
    whole = contents(first)
    file = next(iter(files(first).values()))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # of the same size, and with a header that is whole
    file.write_bytes(data)
    (first.folder / "manifest.json").unlink()

    second = run(films, tmp_path / "cache")

    assert second.kept == 2
    assert contents(second) == whole


def test_clips_that_are_not_prepared_are_refused_with_the_command(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    prepared = PreparedDataset(films, spec_for(tmp_path / "cache"), kind="films")

    with pytest.raises(DataError, match=r"3 of 3 clips are not prepared.*run `fusionkit prepare RECIPE`"):
        prepared.require_prepared()


def test_dropped_clips_are_no_rows_but_notes(tmp_path: Path) -> None:
    clips = clips_in(tmp_path)
    (tmp_path / "c1.mp4").write_bytes(b"")
    run(Films(clips), tmp_path / "cache")

    prepared = PreparedDataset(Films(clips), spec_for(tmp_path / "cache"), kind="films")

    prepared.require_prepared()
    assert [row.id for row in prepared.rows] == ["c0", "c2"]
    assert "c1 (film c1.mp4 cannot be read as a film or sound" in prepared.notes[-1]
    assert len(prepared.load(1)["video"]) == 12


def test_a_failed_clip_is_refused_until_it_is_mended_and_done_again(tmp_path: Path) -> None:
    clips = clips_in(tmp_path)
    clips["c1"] = Clip(None, write_sound(tmp_path / "c1.wav", np.zeros(20000)))
    keys = {"silent": "fail"}
    first = run(Films(clips), tmp_path / "cache", **keys)
    before = changes(first)

    assert list(first.failed) == ["c1"]
    with pytest.raises(DataError, match="silence") as caught:
        PreparedDataset(Films(clips), spec_for(tmp_path / "cache", **keys), kind="films").require_prepared()
    assert "--retry" in str(caught.value)
    assert run(Films(clips), tmp_path / "cache", **keys).kept == 3
    assert changes(first) == before

    retried = run(Films(clips), tmp_path / "cache", retry=True, **keys)
    assert (retried.kept, list(retried.failed)) == (2, ["c1"])
    write_sound(tmp_path / "c1.wav", tone(1.3))
    mended = run(Films(clips), tmp_path / "cache", retry=True, **keys)
    assert (mended.kept, mended.failed) == (2, {})
    PreparedDataset(Films(clips), spec_for(tmp_path / "cache", **keys), kind="films").require_prepared()


def test_a_slice_of_a_clip_shares_the_mapping_of_its_file(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path, 1))
    run(films, tmp_path / "cache")

    video = PreparedDataset(films, spec_for(tmp_path / "cache"), kind="films").load(0)["video"]

    part = video[3:5]
    assert part.untyped_storage().data_ptr() == video.untyped_storage().data_ptr()
    address = video.data_ptr()
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if ".safetensors" in line]
    ranges = [tuple(int(end, 16) for end in words[0].split("-")) for words in maps]
    assert any(first <= address < last for first, last in ranges)
    assert video.dtype == torch.uint8


def recipe_in(folder: Path, cache: str, **keys: object) -> Path:
    (folder / "films_plugin.py").write_text(PLUGIN)
    prepared = {**spec_for(folder / cache, **keys).model_dump(mode="json"), "cache": str(folder / cache)}
    prepared["face"]["detector"] = "center"
    recipe = {
        "schema": 1,
        "plugins": ["films_plugin"],
        "data": {"dataset": {"type": "folder_of_films", "folder": str(folder / "films")}, "prepare": prepared},
        "model": {
            "modalities": {"video": {"encoder": "mlp"}},
            "targets": {"label": {"type": "classification", "classes": ["a", "b"]}},
        },
        "train": {"epochs": 1},
    }
    path = folder / f"{cache}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "fusionkit", *words]
    return subprocess.Popen(call, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system knows no SIGKILL")
def test_after_a_kill_the_same_command_does_the_rest_and_gives_the_same_bytes(tmp_path: Path) -> None:
    clips_in(tmp_path / "films", 40)
    recipe = recipe_in(tmp_path, "killed")
    killed = command(tmp_path, "prepare", str(recipe), "--processes", "1")
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("killed/*/*.safetensors"))) < 3 and time.monotonic() < deadline:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    folder = next((tmp_path / "killed").iterdir())
    before = changes(folder)
    assert 3 <= len(before) < 40

    said, errors = (again := command(tmp_path, "prepare", str(recipe), "--processes", "2", "--json")).communicate()

    assert again.returncode == 0, errors
    assert json.loads(said)[0]["kept"] == len(before)
    assert before.items() <= changes(folder).items()
    undisturbed = command(tmp_path, "prepare", str(recipe_in(tmp_path, "whole")), "--processes", "1")
    undisturbed.communicate()
    assert undisturbed.returncode == 0
    whole = next((tmp_path / "whole").iterdir())
    assert contents(folder) == contents(whole)
    assert len(contents(whole)) == 40
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


@pytest.mark.slow
def test_the_command_says_by_its_status_that_clips_failed_and_training_refuses_them(tmp_path: Path) -> None:
    clips_in(tmp_path / "films", 4)
    (tmp_path / "films" / "c2.mp4").write_text("no film")
    recipe = str(recipe_in(tmp_path, "cache", damaged="fail"))

    untrained = command(tmp_path, "train", recipe, "--out", str(tmp_path / "run"))
    assert "4 of 4 clips are not prepared" in " ".join("".join(untrained.communicate()).split())
    prepared = command(tmp_path, "prepare", recipe, "--processes", "1", "--json")
    said, errors = prepared.communicate()
    assert prepared.returncode == 1, errors
    assert list(json.loads(said)[0]["errors"]) == ["c2"]
    refused = command(tmp_path, "train", recipe, "--out", str(tmp_path / "run"))
    assert "--retry" in "".join(refused.communicate())
    assert untrained.returncode
    assert refused.returncode


def flipped(file: Path) -> None:
    """Changes a byte in the middle of a clip, of the same size and with a header that is whole."""
    data = bytearray(file.read_bytes())
    data[-len(data) // 4] ^= 255
    file.write_bytes(data)


def test_a_clip_that_was_altered_behind_the_manifests_back_is_not_trained_on(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    first = run(films, tmp_path / "cache")
    flipped(next(iter(files(first).values())))
    prepared = PreparedDataset(films, spec_for(tmp_path / "cache"), kind="films")
    with pytest.raises(DataError, match=r"is damaged: its content is not what was prepared; .* --check"):
        prepared.load(0)
    assert set(prepared.load(1)) == {"video", "audio"}


def test_checked_clips_that_are_damaged_are_done_again(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    first = run(films, tmp_path / "cache")
    whole = contents(first)
    flipped(next(iter(files(first).values())))

    assert run(films, tmp_path / "cache").kept == 3  # the manifest is believed
    second = prepare(films, spec_for(tmp_path / "cache"), kind="films", processes=1, check=True)

    assert second.kept == 2
    assert contents(second) == whole


def test_another_sound_of_the_same_size_and_time_is_found_by_a_check_and_prepared(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", steps(10))
    sound = write_sound(tmp_path / "a.wav", tone(1.2, hertz=440.0))
    films = Films({"a": Clip(film, sound)})
    first = run(films, tmp_path / "cache")
    (before,) = contents(first).values()
    times = sound.stat()
    write_sound(sound, tone(1.2, hertz=880.0))
    os.utime(sound, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sound.stat().st_size == times.st_size

    assert run(films, tmp_path / "cache").kept == 1  # size and time are believed
    checked = prepare(films, spec_for(tmp_path / "cache"), kind="films", processes=1, check=True)
    again = prepare(films, spec_for(tmp_path / "cache"), kind="films", processes=1, check=True)

    (after,) = contents(checked).values()
    (fresh,) = contents(run(films, tmp_path / "elsewhere")).values()
    assert (checked.kept, again.kept) == (0, 1)
    assert after == fresh != before


def test_what_the_dataset_says_of_its_files_stands_in_every_report(tmp_path: Path) -> None:
    films = Films(clips_in(tmp_path))
    films.notes = ("incomplete actors: 01 has 2 of 60 clips",)
    done = run(films, tmp_path / "cache")
    assert done.plain()["notes"] == ["incomplete actors: 01 has 2 of 60 clips"]
    assert "- incomplete actors: 01 has 2 of 60 clips" in done.report.read_text()
    assert json.loads((done.folder / "report.json").read_text())["notes"] == list(films.notes)


@pytest.mark.slow
def test_the_command_says_that_checked_clips_are_whole(tmp_path: Path) -> None:
    clips_in(tmp_path / "films", 2)
    recipe = str(recipe_in(tmp_path, "cache"))
    for words, said in (
        ((), "known from before"),
        (("--check",), "2 clips were read and are what was prepared, from these films; 0 were"),
    ):
        ended = command(tmp_path, "prepare", recipe, "--processes", "1", *words)
        assert said in " ".join(ended.communicate()[0].split())
        assert ended.returncode == 0
