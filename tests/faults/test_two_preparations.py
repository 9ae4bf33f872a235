"""Two preparations into one cache: the second is refused and the first goes on; a stale clip is never trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_films import Films, spec_for, tone, write_sound

from fusionkit.errors import DataError, RunError
from fusionkit.interfaces import Clip
from fusionkit.preparation import Prepared, clips, prepare, preparing


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

    monkeypatch.setattr(preparing, "prepare_clip", prepare_clip)
    done = prepare(films, spec, kind="films", processes=1)

    assert str(done.folder) in told[0]
    assert [record.status for record in done.records.values()] == ["prepared"] * 3
    Prepared(films, spec, kind="films").require_prepared()


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
        Prepared(films, after, kind="films").require_prepared()
    prepare(films, after, kind="films", processes=1)

    found = Prepared(films, after, kind="films").load(1)["audio"]
    assert len(found) == (32000 if change == "source" else 8800)
