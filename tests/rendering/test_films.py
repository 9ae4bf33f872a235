"""Rendered films: what they show and sound like, their layouts, and that a seed says everything."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import wave
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fusionkit.data.datasets.ravdess_names import RavdessName
from fusionkit.errors import DataError, RunError
from fusionkit.rendering import FilmSettings, draw_contact_sheet, render_crema_d, render_ravdess
from fusionkit.rendering.actors import Actor, make_generator
from fusionkit.rendering.canvas import Canvas, Pose
from fusionkit.rendering.codecs import encode_film
from fusionkit.rendering.emotions import (
    ACTIONS,
    CUE_SPREAD,
    CUES,
    EMOTIONS,
    FACE_CONFUSIONS,
    FACES,
    STRENGTHS,
    VOICE_CONFUSIONS,
    VOICES,
)
from fusionkit.rendering.expressions import Manner, express
from fusionkit.rendering.films import Scene, record
from fusionkit.rendering.layouts import make_ravdess_scene
from fusionkit.rendering.statements import CREMA_D_STATEMENTS, RAVDESS_STATEMENTS, pronounce
from fusionkit.rendering.take import Take, perform

SMALL = FilmSettings(size=(64, 48), frame_rate=10, seconds=0.6, sound_rate=16000)
TINY = {"emotions": ["happy", "neutral"], "statements": [1], "repetitions": [1], "settings": SMALL}


def played(emotion: str, intensity: str = "strong", *, actor: int = 3, ambiguity: float = 0.0, seed: int = 0) -> Take:
    cast = Actor.cast(f"{actor:02}", "male" if actor % 2 else "female", seed=seed, ambiguity=ambiguity)
    words = pronounce(RAVDESS_STATEMENTS[1])
    return perform(cast, emotion, intensity, words, "take", seed=seed, sound_rate=16000, ambiguity=ambiguity)


def pitches(sound: np.ndarray, rate: int) -> np.ndarray:
    """Hz of the voiced stretches of a wave, by the highest peak of each one's autocorrelation."""
    size, found = rate // 25, []
    power = np.array([np.mean(sound[i : i + size] ** 2) for i in range(0, len(sound) - size, size // 2)])
    for place in np.flatnonzero(power > 0.25 * power.max()) * (size // 2):
        part = sound[place : place + size] * np.hanning(size)
        peaks = np.fft.irfft(np.abs(np.fft.rfft(part, 4 * size)) ** 2)[:size]
        shortest, longest = rate // 500, rate // 70
        # A window's own autocorrelation falls with the lag; dividing by it keeps long periods in the race.
        own = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 4 * size)) ** 2)[:size]
        lag = shortest + int(np.argmax((peaks / own)[shortest:longest]))
        if peaks[lag] / own[lag] > 0.5 * peaks[0] / own[0]:
            found.append(rate / lag)
    return np.array(found)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    assert files
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_table_knows_every_emotion_and_only_known_names() -> None:
    for table, names in ((FACES, ACTIONS), (VOICES, CUES)):
        assert tuple(table) == EMOTIONS
        assert all(set(prototype) <= set(names) for prototype in table.values())
    assert tuple(CUE_SPREAD) == CUES
    for confusions in (FACE_CONFUSIONS, VOICE_CONFUSIONS):
        assert tuple(confusions) == EMOTIONS
        for emotion, others in confusions.items():
            assert set(others) <= set(EMOTIONS) - {emotion}
            assert 0 < sum(others.values()) < 0.5, "most clips must not lean elsewhere"


def test_without_ambiguity_a_strong_expression_is_its_prototype_exaggerated() -> None:
    manner = Manner.draw(np.random.default_rng(0), 0.0)
    for emotion in EMOTIONS:
        shown = express(emotion, "strong", manner, np.random.default_rng(1), 0.0)
        expected = [min(1.3, STRENGTHS["strong"] * FACES[emotion].get(action, 0.0)) for action in ACTIONS]
        np.testing.assert_allclose(shown.face, expected, atol=1e-12)


def test_a_face_leans_as_often_as_the_table_says() -> None:
    manner = Manner.draw(np.random.default_rng(0), 0.0)
    generator, brow, takes = np.random.default_rng(2), ACTIONS.index("outer_brow_raise"), 4000
    # Only a fearful face that leans towards surprise raises the outer brows by much more than 0.35.
    raised = [express("fearful", "normal", manner, generator, 1.0).face[brow] for _ in range(takes)]
    prototype = 0.85 * FACES["fearful"]["outer_brow_raise"]
    mean_lean = 4 / 7
    lift = (
        0.85 * mean_lean * np.array([1 - FACES["fearful"]["outer_brow_raise"], -FACES["fearful"]["outer_brow_raise"]])
    )
    shares = [FACE_CONFUSIONS["fearful"]["surprised"], FACE_CONFUSIONS["fearful"]["sad"]]
    assert np.mean(raised) == pytest.approx(prototype + lift @ shares, abs=0.02)


def test_face_and_voice_of_one_emotion_are_drawn_independently() -> None:
    manner = Manner.draw(np.random.default_rng(0), 1.0)
    generator = np.random.default_rng(3)
    shown = [express("angry", "normal", manner, generator, 1.0) for _ in range(3000)]
    face = np.array([take.face[ACTIONS.index("nose_wrinkle")] for take in shown])
    voice = np.array([take.voice[CUES.index("pitch")] for take in shown])
    assert abs(np.corrcoef(face, voice)[0, 1]) < 0.06


def test_a_take_depends_on_its_seed_and_name_alone() -> None:
    first, again, other = played("happy"), played("happy"), played("happy", seed=1)
    np.testing.assert_array_equal(first.speech.wave, again.speech.wave)
    for one, two in zip(first.draw_frames(), again.draw_frames(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(next(iter(first.draw_frames())), next(iter(other.draw_frames())))


def test_the_pixels_of_a_seed_stay_what_they_were() -> None:
    # Made by this very code; raise layouts.RENDERER when it changes on purpose.
    frame = next(iter(make_ravdess_scene(2, "happy", 2, 1, 1).play(SMALL).draw_frames())).astype(np.int64)
    assert frame.shape == (48, 64, 3)
    assert frame.mean() == pytest.approx(140.24, abs=0.05)


def test_the_mouth_opens_with_the_voice() -> None:
    take = played("neutral", "normal")
    opening = np.array([motion.opening for motion in take.motions])
    size = take.speech.rate // take.frame_rate
    power = [np.sqrt(np.mean(take.speech.wave[i * size : (i + 1) * size] ** 2)) for i in range(len(opening))]
    assert np.corrcoef(opening, power)[0, 1] > 0.85


def test_an_open_mouth_shows_in_the_picture() -> None:
    take = played("neutral", "normal")
    camera, motions = take.make_camera(), take.motions
    wide = int(np.argmax([motion.opening for motion in motions]))
    pose = take.poses[wide]
    x, y, unit = round(pose.x), round(pose.y), pose.scale
    mouth = np.s_[round(y + 0.42 * unit) : round(y + 0.75 * unit), round(x - 0.2 * unit) : round(x + 0.2 * unit)]
    opened, shut = (camera.take(pose, motions[i])[mouth].mean() for i in (wide, 0))
    assert opened < shut - 5


def test_a_happy_voice_is_higher_than_a_sad_one_of_the_same_actor() -> None:
    for actor in (3, 4):
        happy, sad = (played(emotion, "normal", actor=actor) for emotion in ("happy", "sad"))
        measured = [np.median(pitches(take.speech.wave, 16000)) for take in (happy, sad)]
        stated = 0.85 * (VOICES["happy"]["pitch"] - VOICES["sad"]["pitch"])
        assert 12 * np.log2(measured[0] / measured[1]) == pytest.approx(stated, abs=1.5)


def test_the_measured_pitch_is_the_planned_one() -> None:
    take = played("neutral", "normal", actor=4)
    assert np.median(pitches(take.speech.wave, 16000)) == pytest.approx(np.median(take.speech.pitch), rel=0.06)


def test_women_speak_higher_than_men() -> None:
    bases = {sex: [Actor.cast(f"{i:02}", sex).speaker.base_hz for i in range(30)] for sex in ("male", "female")}
    assert np.mean(bases["female"]) > 1.5 * np.mean(bases["male"])


def test_anger_is_louder_than_sadness_and_faster() -> None:
    angry, sad = played("angry"), played("sad")
    power = [np.mean(take.speech.wave**2) for take in (angry, sad)]
    assert power[0] > 20 * power[1]
    assert angry.speech.seconds < sad.speech.seconds


def test_every_statement_can_be_pronounced() -> None:
    for text in (*RAVDESS_STATEMENTS.values(), *CREMA_D_STATEMENTS.values()):
        assert len(pronounce(text)) == len(text.split())
        assert any(syllable.stressed for syllable in pronounce(text))


def test_a_close_up_leaves_hair_out_rather_than_the_chin() -> None:
    actor, words = Actor.cast("02", "female"), pronounce(RAVDESS_STATEMENTS[1])
    take = perform(actor, "calm", "normal", words, "x", size=(96, 96), head=0.6, sound_rate=16000)
    for pose in take.poses:
        assert pose.y - pose.scale < 0, "the top of the head"
        assert pose.y + (1 + actor.look.chin) * pose.scale < 96 * 1.03, "the chin"
        assert pose.y - 0.45 * pose.scale > 0, "the brows"


def test_points_turn_with_the_head() -> None:
    from PIL import Image

    pose = Pose(40.0, 30.0, 20.0, roll=np.pi / 2)
    placed = Canvas(Image.new("RGB", (160, 120)), pose).place(np.array([1 + 0j]), flat=True)
    np.testing.assert_allclose(placed, [2 * (40 + 50j)], atol=1e-9)


def test_generators_of_different_names_differ() -> None:
    draws = [make_generator(seed, name).random() for seed, name in product((0, 1), ("a", "b"))]
    assert len(set(draws)) == 4


def test_ravdess_names_are_complete_and_neutral_is_never_strong(tmp_path: Path) -> None:
    rendered = render_ravdess(tmp_path / "films", actors=[5, 6], **TINY, modalities=(1, 2, 3))
    parsed = [RavdessName.parse(path.stem) for path in rendered.files]
    assert len(parsed) == 2 * 3 * 3  # actors, clips, modalities
    assert rendered.written == len(parsed)
    assert {(name.emotion, name.intensity) for name in parsed} == {
        ("happy", "normal"),
        ("happy", "strong"),
        ("neutral", "normal"),
    }
    for path, name in zip(rendered.files, parsed, strict=True):
        actor = f"Actor_{name.actor:02}"
        folder = actor if name.modality == 3 else f"Video_Speech_{actor}/{actor}"
        assert path == tmp_path / "films" / folder / path.name
        assert path.suffix == (".wav" if name.modality == 3 else ".mp4")
        assert path.is_file()


def test_all_of_ravdess_speech_is_named_as_it_is_distributed() -> None:
    names = {
        make_ravdess_scene(actor, emotion, intensity, statement, repetition).name
        for actor, emotion, intensity, statement, repetition in product(range(1, 25), EMOTIONS, (1, 2), (1, 2), (1, 2))
        if not (emotion == "neutral" and intensity == 2)
    }
    assert len(names) == 1440


@pytest.mark.data
def test_names_of_crema_d_are_among_the_real_ones(tmp_path: Path, real_data: Path) -> None:
    real = set((real_data / "cremad" / "clips.txt").read_text().split())
    rendered = render_crema_d(tmp_path / "c", actors=[1003], emotions=["SAD"], sound=False, settings=SMALL)
    assert {path.stem for path in rendered.files} <= real
    assert len(rendered.files) == 14


def test_crema_d_has_films_sound_and_demographics(tmp_path: Path) -> None:
    root = tmp_path / "crema"
    chosen = {"emotions": ["ANG", "NEU"], "sentences": ["IEO", "DFA"], "settings": SMALL}
    render_crema_d(root, actors=[1001], **chosen)
    rendered = render_crema_d(root, actors=[1002], **chosen)
    clips = {path.stem for path in rendered.files}
    told = "IEO_ANG_LO IEO_ANG_MD IEO_ANG_HI IEO_NEU_XX DFA_ANG_XX DFA_NEU_XX"
    assert clips == {f"1002_{clip}" for clip in told.split()}
    assert {path.parent.name for path in rendered.files} == {"VideoFlash", "AudioWAV"}
    with (root / "VideoDemographics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["ActorID", "Age", "Sex", "Race", "Ethnicity"]
    assert [(row["ActorID"], row["Sex"]) for row in rows] == [("1001", "Male"), ("1002", "Female")]


@pytest.mark.parametrize(("form", "video", "audio"), [("film.mp4", "h264", "aac"), ("film.flv", "flv", "mp3float")])
def test_a_film_decodes_to_what_was_encoded(form: str, video: str, audio: str) -> None:
    import av

    scene = Scene("x", "01", "male", "happy", "normal", RAVDESS_STATEMENTS[1], ((f"a.{form}", form),))
    take = scene.play(SMALL)
    data = record(scene, SMALL)[0][1]
    with av.open(io.BytesIO(data)) as film:
        assert film.streams.video[0].codec_context.name == video
        assert film.streams.video[0].average_rate == SMALL.frame_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    with av.open(io.BytesIO(data)) as film:
        assert film.streams.audio[0].codec_context.name == audio
        sound = list(film.decode(audio=0))
    drawn = list(take.draw_frames())
    assert len(frames) == len(drawn)
    for seen, meant in zip(frames, drawn, strict=True):
        assert seen.shape == meant.shape == (48, 64, 3)
        assert np.abs(seen.astype(float).mean(2) - meant.astype(float).mean(2)).mean() < 8
    assert sound[0].sample_rate == (SMALL.sound_rate if form == "film.mp4" else 44100)
    seconds = sum(frame.samples for frame in sound) / sound[0].sample_rate
    assert seconds == pytest.approx(take.speech.seconds, abs=0.12)


def test_a_silent_film_has_no_sound_track() -> None:
    import av

    frames = list(played("calm").draw_frames())[:3]
    with av.open(io.BytesIO(encode_film(frames, 25, None, 48000, "mp4"))) as film:
        assert not film.streams.audio
        assert len(list(film.decode(video=0))) == 3


def test_a_wave_file_holds_the_voice_of_its_film(tmp_path: Path) -> None:
    rendered = render_ravdess(tmp_path / "f", actors=[1], **{**TINY, "emotions": ["neutral"]}, modalities=(3,))
    with wave.open(str(rendered.files[0])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    spoken = make_ravdess_scene(1, "neutral", 1, 1, 1).play(SMALL).speech.wave
    np.testing.assert_allclose(heard, spoken, atol=1e-4)


def test_a_stopped_rendering_goes_on_and_writes_the_same(tmp_path: Path) -> None:
    root = tmp_path / "films"
    first = render_ravdess(root, actors=[1, 2], **TINY)
    whole = digests(root)
    first.files[1].unlink()
    told: list[tuple[int, int]] = []
    again = render_ravdess(root, actors=[1, 2], **TINY, progress=lambda done, total: told.append((done, total)))
    assert again.written == 1
    assert told == [(6, 6)]
    assert digests(root) == whole


@pytest.mark.slow
def test_two_processes_render_what_one_renders(tmp_path: Path) -> None:
    for name, processes in (("one", 1), ("two", 2)):
        render_ravdess(tmp_path / name, actors=[1, 2], **TINY, processes=processes)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_a_clip_does_not_depend_on_what_else_is_rendered(tmp_path: Path) -> None:
    some = {**TINY, "emotions": ["happy"], "intensities": [1]}
    alone = render_ravdess(tmp_path / "alone", actors=[2], **some)
    among = render_ravdess(tmp_path / "among", actors=[1, 2], **some)
    assert alone.files[0].read_bytes() == among.files[-1].read_bytes()


def test_two_repetitions_of_one_line_differ() -> None:
    first, second = (make_ravdess_scene(1, "sad", 1, 1, repetition).play(SMALL) for repetition in (1, 2))
    assert not np.allclose(first.expression.face, second.expression.face)
    assert not np.allclose(first.expression.voice, second.expression.voice)
    assert first.actor.look == second.actor.look


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "films"
    some = {"actors": [1], "emotions": ["neutral"], "statements": [1], "repetitions": [1]}
    render_ravdess(root, **some, settings=SMALL)
    assert json.loads((root / "rendered.json").read_text())["layout"] == "ravdess"
    with pytest.raises(DataError, match=r"was rendered with seed 0, now 1; choose another folder"):
        render_ravdess(root, **some, settings=FilmSettings(**{**vars(SMALL), "seed": 1}))
    with pytest.raises(DataError, match=r"layout 'ravdess', now 'crema_d'"):
        render_crema_d(root, actors=[1001], settings=SMALL)


@pytest.mark.parametrize(
    ("content", "said"), [("[]", "it holds a list, no mapping"), ('{"seed', "Unterminated string")]
)
def test_a_folder_of_unknown_settings_is_refused_with_what_to_do(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "rendered.json").write_text(content)
    with pytest.raises(DataError) as caught:
        render_ravdess(tmp_path, actors=[1])
    assert f"{tmp_path}: holds films of unknown settings: " in str(caught.value)
    assert said in str(caught.value)
    assert str(caught.value).endswith("; choose another folder or delete it")


def test_a_file_in_place_of_an_actors_folder_is_said_with_its_name(tmp_path: Path) -> None:
    root, some = tmp_path / "films", {"emotions": ["neutral"], "statements": [1], "repetitions": [1]}
    render_ravdess(root, actors=[1], **some, settings=SMALL)
    (root / "Video_Speech_Actor_02").write_text("a file")
    with pytest.raises(RunError, match=r"Actor_02: cannot be written \(Not a directory\); nothing was written"):
        render_ravdess(root, actors=[2], **some, settings=SMALL)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "Actor_01").mkdir()
    with pytest.raises(DataError, match=r"holds something that was not rendered \(no rendered.json\)"):
        render_ravdess(tmp_path, actors=[1])
    assert [path.name for path in tmp_path.iterdir()] == ["Actor_01"]


def test_a_folder_that_cannot_be_made_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a file, where a folder is expected")
    with pytest.raises(DataError, match=r"notes.txt/films: cannot be made \(Not a directory\); name a folder"):
        render_ravdess(tmp_path / "notes.txt" / "films", actors=[1])


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        render_ravdess(
            tmp_path / "x",
            actors=[1, 25],
            emotions=["hapy"],
            modalities=(),
            processes=0,
            settings=FilmSettings(size=(63, 48), head=2.0, frame_rate=0, sound_rate=44100, seconds=0.1, ambiguity=-1.0),
        )
    text = str(caught.value)
    for told in (
        "10 problems",
        "size: (63, 48) is not two even numbers from 32; try (192, 144)",
        "head: 2.0 is outside 0.1..0.8",
        "frame_rate: 0 is outside 1..120",
        "seconds: 0.1 is outside 0.5..60",
        "sound_rate: 44100 is no multiple of 200 from 8000 to 48000; try 48000",
        "ambiguity: -1.0 is outside 0..3",
        "actors: 25 is not one of them",
        "emotions: 'hapy' is not one of them; did you mean 'happy'?",
        "modalities: is empty; name one at least",
        "processes: 0 is less than 1",
    ):
        assert told in text
    assert not (tmp_path / "x").exists()


def test_a_contact_sheet_has_a_column_per_emotion_and_a_row_per_moment() -> None:
    sheet = draw_contact_sheet([1, 2], emotions=["happy", "sad", "angry"], moments=(0.2, 0.6), tile=40, settings=SMALL)
    assert sheet.size == (28 + 3 * 44 + 4, 22 + 2 * (2 * 44 + 4))
    assert sheet.getpixel((sheet.width - 1, sheet.height - 1)) == (255, 255, 255)
    tiles = np.asarray(sheet)
    assert tiles[22:62, 28:68].std() > 20


def test_a_film_is_encoded_to_the_same_bytes_every_time() -> None:
    settings = FilmSettings(size=(64, 48), seconds=0.6)
    take = make_ravdess_scene(1, "sad", 1, 1, 1).play(settings)
    frames = list(take.draw_frames())
    encoded = {encode_film(frames, 25, take.speech.wave, settings.sound_rate, "mp4") for _ in range(20)}
    assert len(encoded) == 1
