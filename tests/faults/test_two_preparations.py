"""Two preparations into one cache: the second is refused and the first goes on; a stale clip is never trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from written_films import Films, spec_for, tone, write_film, write_sound

from fusionkit.config.components.registry import DETECTORS
from fusionkit.config.plugins import import_plugins
from fusionkit.data.films import PreparedDataset, clips, preparation, prepare
from fusionkit.errors import DataError, RunError
from fusionkit.interfaces import Clip


def sounds(folder: Path, count: int = 3) -> Films:
    return Films({f"c{n}": Clip(None, write_sound(folder / f"c{n}.wav", tone(1 + n / 10))) for n in range(count)})


def test_a_second_preparation_is_refused_and_the_first_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films, spec = sounds(tmp_path), spec_for(tmp_path / "cache")
    told = []

    def prepare_clip(*given: object) -> clips.Outcome:
        if not told:
            told.append("")
            with pytest.raises(RunError, match="another process is working in it") as refused:
                prepare(films, spec, kind="films", processes=1)
            told[0] = str(refused.value)
        return clips.prepare_clip(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(preparation, "prepare_clip", prepare_clip)
    done = prepare(films, spec, kind="films", processes=1)

    assert str(done.folder) in told[0]
    assert [record.status for record in done.records.values()] == ["prepared"] * 3
    PreparedDataset(films, spec, kind="films").require_prepared()


DETECTOR = '''
"""A detector whose library crashes over bright images."""

import os
import signal

from fusionkit.interfaces import FaceDetector
from fusionkit.config.components.registry import DETECTORS


@DETECTORS.register("crashing")
class Crashing(FaceDetector):
    """Crashes over bright images."""

    def __init__(self) -> None:
        pass

    def detect(self, image):
        if image.float().mean() > 200:
            os.kill(os.getpid(), signal.SIGSEGV)
        return ()
'''


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The detector, for this process and those that it starts."""
    (tmp_path / "crashing_detector.py").write_text(DETECTOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    import_plugins(("crashing_detector",))
    yield
    del DETECTORS._components["crashing"]


@pytest.mark.slow
def test_a_clip_over_which_a_library_crashes_is_the_only_one_to_suffer(tmp_path: Path, crashing: None) -> None:
    films = Films(
        {
            f"grey {grey}": Clip(write_film(tmp_path / f"{grey}.mp4", [np.full((48, 64, 3), grey, np.uint8)] * 4))
            for grey in (60, 240, 80, 100)
        }
    )
    spec = spec_for(tmp_path / "cache", detector="crashing", face={"no_face": "center"})

    done = prepare(films, spec, kind="films", plugins=("crashing_detector",), processes=2)

    assert sorted(done.records) == ["grey 100", "grey 60", "grey 80"]
    assert {record.status for record in done.records.values()} == {"prepared"}
    assert list(done.failed) == ["grey 240"]
    assert "its process was ended by signal 11" in done.failed["grey 240"]


@pytest.mark.parametrize("change", ["source", "settings"])
def test_a_clip_whose_source_or_settings_changed_is_not_trained_on_until_it_is_prepared_anew(
    change: str, tmp_path: Path
) -> None:
    films, before = sounds(tmp_path), spec_for(tmp_path / "cache")
    prepare(films, before, kind="films", processes=1)
    after = before
    if change == "source":
        write_sound(tmp_path / "c1.wav", tone(2))
    else:
        after = spec_for(tmp_path / "cache", sample_rate=8000)

    with pytest.raises(DataError, match=r"[13] of 3 clips are not prepared, or have changed since"):
        PreparedDataset(films, after, kind="films").require_prepared()
    prepare(films, after, kind="films", processes=1)

    found = PreparedDataset(films, after, kind="films").load(1)["audio"]
    assert len(found) == (32000 if change == "source" else 8800)
