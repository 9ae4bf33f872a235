"""Faces are found where they are, and what is missing is said with what to do."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fusionkit.config.components.registry import DETECTORS
from fusionkit.config.schema import FaceSpec
from fusionkit.data.films.detectors import dlib_hog, packages
from fusionkit.data.films.face_track import follow_face
from fusionkit.errors import RecipeError
from fusionkit.interfaces import Box

HEIGHT, WIDTH = 288, 360


@pytest.fixture(scope="module")
def films(real_data: Path) -> list[Path]:
    """The talking faces of GRID."""
    pytest.importorskip("dlib", reason="dlib is not installed: pip install fusionkit-multimodal[faces]")
    found = sorted((real_data / "grid").glob("*.mpg"))
    if not found:
        pytest.skip(f"{real_data} holds no grid/*.mpg")
    return found


def frames_of(film: Path) -> Iterator[Tensor]:
    """The frames of a film, ``(height, width, 3)``, as PyAV gives them: rows may be padded in memory."""
    import av

    with av.open(film) as container:
        for frame in container.decode(video=0):
            yield torch.from_numpy(frame.to_ndarray(format="rgb24"))


@pytest.mark.data
@pytest.mark.slow
def test_the_face_is_found_in_every_film_and_its_crop_is_steady(films: list[Path]) -> None:
    detector = DETECTORS.build("dlib_hog")
    for film in films:
        frames = list(frames_of(film))
        found = {index: detector.detect(frames[index]) for index in range(0, len(frames), 5)}
        track = follow_face(found, frames=len(frames), height=HEIGHT, width=WIDTH, frame_rate=25.0, spec=FaceSpec())
        assert (track.departures, track.drop) == ((), False), film.name
        left, top, right, bottom = track.boxes.T
        assert len(track.boxes) == len(frames)
        assert float((right - left).min()) > 120, film.name
        assert float((right - left).max()) < 240, film.name
        assert float(track.boxes.diff(dim=0).abs().max()) < 3, film.name  # pixels from one frame to the next
        middle = ((left + right) / 2, (top + bottom) / 2)  # the speakers sit in the middle of the picture
        assert float((middle[0] - WIDTH / 2).abs().max()) < WIDTH / 8, film.name
        assert float((middle[1] - HEIGHT / 2).abs().max()) < HEIGHT / 4, film.name


@pytest.mark.data
@pytest.mark.slow
def test_the_convolutional_detector_agrees_with_the_other_on_a_real_face(films: list[Path]) -> None:
    if find_spec("face_recognition_models") is None:
        pytest.skip("the file of the network is not installed: pip install face-recognition-models")
    detector = DETECTORS.build("dlib_cnn")
    picture = next(frames_of(films[0]))[80:280, 60:260]
    (cnn,) = detector.detect(picture)
    (hog,) = DETECTORS.build("dlib_hog").detect(picture)
    assert cnn.score > 0.5
    overlap = max(0.0, min(cnn.right, hog.right) - max(cnn.left, hog.left)) * max(
        0.0, min(cnn.bottom, hog.bottom) - max(cnn.top, hog.top)
    )
    assert overlap > 0.7 * (cnn.right - cnn.left) * (cnn.bottom - cnn.top)
    assert DETECTORS.build("dlib_cnn", min_score=5.0).detect(picture) == ()


@pytest.mark.data
@pytest.mark.slow
def test_upsampling_finds_a_smaller_face_and_a_higher_score_finds_less(films: list[Path]) -> None:
    frame = next(frames_of(films[0])).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(frame, scale_factor=0.4, mode="area")[0].permute(1, 2, 0).to(torch.uint8)
    assert DETECTORS.build("dlib_hog").detect(small) == ()
    (face,) = DETECTORS.build("dlib_hog", upsample=1).detect(small)
    assert face.right - face.left == pytest.approx(0.4 * 130, rel=0.25)
    assert DETECTORS.build("dlib_hog", upsample=1, min_score=5.0).detect(small) == ()


@pytest.mark.data
@pytest.mark.slow
def test_rows_that_are_padded_in_memory_do_not_blind_the_detector(films: list[Path]) -> None:
    detector = DETECTORS.build("dlib_hog")
    frame = next(frames_of(films[0]))
    padded = torch.zeros(HEIGHT, WIDTH + 8, 3, dtype=torch.uint8)[:, :WIDTH]
    padded.copy_(frame)
    assert not padded.is_contiguous()
    assert detector.detect(padded) == detector.detect(frame.contiguous())
    assert len(detector.detect(padded)) == 1


def test_the_middle_of_the_image_is_a_square_of_its_smaller_side() -> None:
    wide, tall = torch.zeros(40, 61, 3, dtype=torch.uint8), torch.zeros(61, 40, 3, dtype=torch.uint8)
    detector = DETECTORS.build("center")
    assert detector.detect(wide) == (Box(10.5, 0.0, 50.5, 40.0),)
    assert detector.detect(tall) == (Box(0.0, 10.5, 40.0, 50.5),)
    assert not detector.looks


@pytest.mark.parametrize("name", ["dlib_hog", "dlib_cnn"])
def test_without_dlib_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(RecipeError) as caught:
        DETECTORS.build(name)
    assert str(caught.value) == (
        f"data.prepare.face.detector: {name} needs dlib, which is missing; pip install fusionkit-multimodal[faces], "
        "or set the detector to center for films cropped already"
    )


def test_without_the_file_of_the_network_it_is_said_which_package_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "require_dlib", lambda _: None)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(
        RecipeError, match=r"mmod_human_face_detector\.dat, which is not installed; pip install face-rec"
    ):
        packages.find_network(None)
    with pytest.raises(RecipeError, match=r"detector\.model: no such file: .*wrong\.dat; pip install face-recognition"):
        packages.find_network(str(tmp_path / "wrong.dat"))
    given = tmp_path / "mmod_human_face_detector.dat"
    given.touch()
    assert packages.find_network(str(given)) == given


def test_the_file_of_the_network_is_located_without_running_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('no pkg_resources')", encoding="utf-8")
    (package / "models" / "mmod_human_face_detector.dat").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert packages.find_network(None) == package / "models" / "mmod_human_face_detector.dat"


def test_a_file_that_is_no_network_is_refused_with_the_way_back(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="dlib is not installed: pip install fusionkit-multimodal[faces]")
    wrong = tmp_path / "wrong.dat"
    wrong.write_text("no network", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"wrong\.dat is no face detector of dlib .*leave model out"):
        DETECTORS.build("dlib_cnn", model=str(wrong))  # before any clip is read


def test_a_detector_is_small_enough_to_send_to_another_process() -> None:
    pytest.importorskip("dlib", reason="dlib is not installed: pip install fusionkit-multimodal[faces]")
    assert len(pickle.dumps(DETECTORS.build("dlib_hog"))) < 1000
    assert dlib_hog._load_detector() is dlib_hog._load_detector()


@pytest.mark.slow
def test_faces_are_listed_without_loading_dlib() -> None:
    code = "import sys, fusionkit.data.films.detectors; assert 'dlib' not in sys.modules and 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
