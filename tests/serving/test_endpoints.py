"""Answers over HTTP are those of `Predictor.predict`, and what is wrong is said with the right status."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from served_networks import Served, draw_film_network, draw_sensor_network, served
from small_predictors import CLASSES, make_predictor
from written_films import steps, tone, write_film

from fusionkit.config.components.registry import DETECTORS
from fusionkit.interfaces import Box, FaceDetector

TOKEN = "0123456789abcdef-token"


@pytest.fixture(scope="module")
def sensors() -> Iterator[Served]:
    with served(draw_sensor_network()) as running:
        yield running


@pytest.fixture(scope="module")
def films() -> Iterator[Served]:
    with served(draw_film_network(), most_seconds=30) as running:
        yield running


@pytest.fixture
def client(sensors: Served) -> Iterator[httpx.Client]:
    with sensors.client() as opened:
        yield opened


def sample(length: int = 7, seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {
        "motion": draw.normal(size=(length, 3)).astype(np.float32).tolist(),
        "posture": draw.normal(size=4).astype(np.float32).tolist(),
    }


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, np.float32))
    return file.getvalue()


def wave(seconds: float, rate: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(size=round(seconds * rate)) / 10, rate, format="WAV")
    return file.getvalue()


def test_an_answer_over_http_is_that_of_predict_bit_for_bit(client: httpx.Client, sensors: Served) -> None:
    answer = client.post("/predict?branches=true", json=sample())

    assert answer.status_code == 200, answer.text
    assert answer.json() | {"id": ""} == sensors.predictor.predict(sample(), branches=True)[0].plain() | {"id": ""}


def test_a_list_of_samples_has_an_answer_each_and_a_wrong_one_says_why(client: httpx.Client, sensors: Served) -> None:
    given = [sample(3, 1), {"motion": [[1.0]]}, {"motion": sample(5, 2)["motion"], "posture": None}]

    answers = client.post("/predict", json=given).json()["answers"]

    expected = sensors.predictor.predict([given[0], given[2]])
    assert [each["id"] for each in answers] == ["0", "1", "2"]
    assert "shape" in answers[1]["failure"]
    assert answers[2]["present"] == ["motion"]
    for found, wanted in zip((answers[0], answers[2]), expected, strict=True):
        shares = found["targets"]["mood"]["probabilities"]
        assert [shares[name] for name in CLASSES] == pytest.approx(
            list(wanted.targets["mood"].probabilities.values()), abs=1e-5
        )


def test_files_are_answered_as_the_arrays_in_them(client: httpx.Client, sensors: Served) -> None:
    given = sample()
    files = {"motion": ("x.npy", npy(given["motion"])), "file": ("y.npy", npy(given["posture"]))}

    answer = client.post("/predict", files=files)

    assert answer.status_code == 200, answer.text
    assert answer.json()["targets"] == sensors.predictor.predict(given)[0].plain()["targets"]


def test_a_modality_can_be_hidden(client: httpx.Client, sensors: Served) -> None:
    given = sample()

    answer = client.post("/predict?without=posture", json=given).json()

    assert answer["present"] == ["motion"]
    assert answer["targets"] == sensors.predictor.predict({"motion": given["motion"]})[0].plain()["targets"]
    assert client.post("/predict?without=posture,motion", json=given).status_code == 422
    unknown = client.post("/predict?without=face", json=given)
    assert unknown.status_code == 422
    assert "without: unknown modality 'face'; known: motion, posture" in unknown.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/predict?levl=0.8", "'levl': no option; known: branches, without, level"),
        ("/predict?brnches=true", "'brnches': no option; known: branches, without, level"),
        ("/timeline?evry=1", "'evry': no option; known: every, window, branches, without"),
    ],
)
def test_an_option_that_the_address_does_not_have_is_refused(client: httpx.Client, address: str, said: str) -> None:
    answer = client.post(address, json=sample())

    assert answer.status_code == 422
    assert said in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"motion": [[NaN, 1, 2]]}', 422),
        (b'{"motion": [[Infinity, 1, 2]]}', 422),
        (b'{"motion": [[1e999, 1, 2]]}', 422),
        (b'{"motion": [[1e39, 1, 2]]}', 422),
        (b'{"motion": [[1' + b"0" * 500 + b", 1, 2]]}", 422),
        (b'{"motion": "/etc/passwd"}', 422),
        (b'{"motion": ["/etc/passwd"]}', 422),
        (b'{"motion": [["1", "2", "3"]]}', 422),
        (b'{"motion": {"a": 1}}', 422),
        (b'{"motion": true}', 422),
        (b'{"motion": [[1, 2], [3]]}', 422),
        (b'{"motion": [[1, 2, 3, 4]]}', 422),
        (b'{"motion": []}', 422),
        (b"{" + b",".join(b'"k%d": [1]' % place for place in range(30_000)) + b"}", 422),
        (b'{"' + b"k" * 200_000 + b'": [1]}', 422),
        (b'{"motion": null}', 422),
        (b'{"face": [[1, 2, 3]]}', 422),
        (b"{}", 422),
        (b"[]", 422),
        (b"3", 422),
        (b'"text"', 422),
        (b"null", 422),
        (b"", 422),
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b"[" * 100_000, 422),
        (json.dumps([{"motion": [[1, 2, 3]]}] * 65).encode(), 413),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_body_that_is_no_sample_is_refused_with_words(client: httpx.Client, body: bytes, status: int) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == status
    assert answer.json()["error"]
    assert "/tmp" not in answer.text


def test_other_kinds_of_bodies_methods_and_addresses_are_refused(client: httpx.Client) -> None:
    assert client.post("/predict", content=b"x", headers={"content-type": "text/csv"}).status_code == 415
    assert client.get("/predict").status_code == 405
    assert client.get("/predictions").status_code == 404
    assert client.get("/../etc/passwd").status_code == 404
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"--x\r\nContent-Disposition: form-data; name=motion; filename=a.npy\r\n\r\nabc", 400),
        (b"--x\r\nContent-Disposition: form-data; name=motion; filename=a.exe\r\n\r\nabc\r\n--x--\r\n", 415),
        (b"--x\r\nContent-Disposition: form-data; name=motion; filename=a.npy\r\n\r\nabc\r\n--x--\r\n", 422),
        (b"--x\r\nContent-Disposition: form-data; name=motion; filename=../../a.npy\r\n\r\nabc\r\n--x--\r\n", 422),
        (b"--x\r\nContent-Disposition: form-data; name=motion\r\n\r\n/etc/passwd\r\n--x--\r\n", 422),
        (b"--x\r\nContent-Disposition: form-data; name=face; filename=a.npy\r\n\r\nabc\r\n--x--\r\n", 422),
        (b"--x--\r\n", 422),
        (b"nothing of it", 400),
        (b"--x\r\nContent-Disposition: " + b"a" * 9000 + b"\r\n\r\n\r\n--x--\r\n", 400),
        (b"--x\r\nContent-Disposition: form-data; name=file; filename=a.npy\r\n\r\n\r\n" * 20 + b"--x--\r\n", 413),
    ],
    ids=["truncated", "exe", "no npy", "path", "text", "modality", "empty", "none", "head", "many"],
)
def test_a_multipart_body_that_is_none_is_refused_with_words(client: httpx.Client, body: bytes, status: int) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}

    answer = client.post("/predict", content=body, headers=kind)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert "fusionkit-serve" not in answer.text


def test_nothing_of_an_upload_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where no other server keeps its uploads

    with served(draw_sensor_network()) as running, running.client() as client:
        client.post("/predict", files={"motion": ("x.npy", npy(sample()["motion"]))})
        client.post("/predict", files={"motion": ("x.npy", b"damaged")})

        (folder,) = tmp_path.glob("fusionkit-serve-*")
        assert folder.stat().st_mode & 0o077 == 0
        assert not list(folder.rglob("*"))
    assert not list(tmp_path.glob("fusionkit-serve-*"))


def test_a_film_is_answered_as_predict_answers_it(films: Served, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", steps(20), wave=tone(2.0))

    with films.client() as client:
        answer = client.post("/predict", files={"film": ("f.mp4", film.read_bytes())})
        silent = client.post("/predict?without=audio", files={"file": ("f.mp4", film.read_bytes())})

    expected = films.predictor.predict(film)[0].plain()
    assert answer.status_code == 200, answer.text
    assert answer.json()["targets"] == expected["targets"]
    assert answer.json()["present"] == ["video", "audio"]
    assert silent.json()["present"] == ["video"]


def test_a_timeline_is_that_of_the_predictor(films: Served, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", steps(20), wave=tone(2.0))

    with films.client() as client:
        answer = client.post("/timeline?every=0.5&window=1", files={"film": ("f.mp4", film.read_bytes())})
        wrong = client.post("/timeline?every=nan", files={"film": ("f.mp4", film.read_bytes())})
        several = client.post("/timeline", json=[{}])

    expected = films.predictor.timeline(film, every=0.5, window=1.0)
    assert answer.status_code == 200, answer.text
    assert [each["targets"] for each in answer.json()["instants"]] == [each["targets"] for each in expected.plain()]
    assert [each["time"] for each in answer.json()["instants"]] == [each.time for each in expected]
    assert wrong.status_code == several.status_code == 422
    assert "box" not in answer.json()["instants"][0]  # the middle is taken, no face is looked for


class Following(FaceDetector):
    """A face that goes to the right as the film gets brighter."""

    def detect(self, image: Any) -> list[Box]:
        left = float(image.double().mean()) / 16
        return [Box(left, 4.0, left + 16, 20.0, 1.0)]


@pytest.fixture
def following() -> Iterator[str]:
    DETECTORS.register("following")(Following)
    yield "following"
    del DETECTORS._components["following"]


def test_a_timeline_says_where_the_face_is_at_every_instant(following: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", steps(20), wave=tone(2.5))

    with served(draw_film_network(following)) as running, running.client() as client:
        answer = client.post("/timeline?every=0.5&window=1", files={"film": ("f.mp4", film.read_bytes())})
        expected = running.predictor.timeline(film, every=0.5, window=1.0)

    assert expected.faces is not None
    assert expected.faces.boxes is not None
    boxes = expected.faces.boxes.tolist()  # at ten frames a second, of two seconds; the sound is longer
    found = {each["time"]: each["box"] for each in answer.json()["instants"]}
    assert (found[0.5], found[1.0], found[1.5], found[2.0]) == (boxes[5], boxes[10], boxes[15], boxes[19])
    assert boxes[5] != boxes[15]
    assert {box for at, box in found.items() if at > 2.0} == {None}


def test_ten_hours_of_sound_are_refused_by_the_header(films: Served) -> None:
    head = bytearray(wave(0.1, 8000))
    seconds = 36_000
    head[4:8] = (36 + seconds * 16000).to_bytes(4, "little")
    head[40:44] = (seconds * 16000).to_bytes(4, "little")

    with films.client() as client:
        stated = client.post("/predict", files={"sound": ("s.wav", bytes(head))})
        long = client.post("/predict", files={"sound": ("s.wav", wave(31, 8000))})

    assert stated.status_code in (413, 422), stated.text
    assert long.status_code == 413
    assert "longer than the limit" in long.json()["error"]


def test_an_image_of_many_pixels_is_refused_before_it_is_decoded() -> None:
    from PIL import Image

    image = {"photo": {"shape": [3, 8, 8], "encoder": [{"type": "conv2d", "channels": [3]}]}}

    file = io.BytesIO()
    Image.new("RGB", (6_000, 6_000)).save(file, format="PNG")
    with served(make_predictor(image, {"photo": None})) as running, running.client() as client:
        bomb = client.post("/predict", files={"photo": ("p.png", file.getvalue())})
        small = io.BytesIO()
        Image.new("RGB", (8, 8)).save(small, format="PNG")
        fine = client.post("/predict", files={"photo": ("p.png", small.getvalue())})

    assert len(file.getvalue()) < 1 << 20
    assert bomb.status_code == 422
    assert "pixels" in bomb.json()["error"]
    assert fine.status_code == 200, fine.text


def test_tokens_are_needed_where_they_are_set_but_for_the_page_and_the_health(sensors: Served) -> None:
    with served(sensors.predictor, token=TOKEN.encode()) as running:
        for token in (None, "x", "wrong-" + TOKEN[6:], TOKEN[:-1], TOKEN + "0", "ä" * 20):
            headers = {} if token is None else {"authorization": f"Bearer {token}".encode()}
            with running.client() as client:
                for path in ("/card", "/metrics", "/docs", "/openapi.json"):
                    assert client.get(path, headers=headers).status_code == 401, (token, path)
                assert client.post("/predict", json=sample(), headers=headers).status_code == 401
                assert client.get("/", headers=headers).status_code == 200
                assert client.get("/health").json() == {"status": "ok", "token": True}
        with running.client(TOKEN) as client:
            assert client.post("/predict", json=sample()).status_code == 200
            assert client.get("/card").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8000"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "10.0.0.1"}, 421),
        ({"host": "localhost"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
    ],
    ids=str,
)
def test_a_page_of_a_stranger_is_refused_on_loopback_too(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert client.post("/predict", json=sample(), headers=headers).status_code == status
    assert client.get("/card", headers=headers).status_code == status


def test_the_card_says_what_the_network_takes_and_no_path(client: httpx.Client) -> None:
    card = client.get("/card").json()

    assert card["modalities"]["motion"] == {"shape": [3], "rate": 20.0, "live": None}
    assert card["targets"] == {"mood": {"kind": "classes", "classes": CLASSES}}
    assert "/" not in json.dumps({**card, "limits": None})


def test_metrics_are_read_by_prometheus_and_paths_of_strangers_are_no_lines(client: httpx.Client) -> None:
    client.post("/predict", json=sample())
    client.get("/invented/1")
    text = client.get("/metrics").text

    assert 'fusionkit_requests_total{path="/predict",status="200"}' in text
    assert 'path="other",status="404"' in text
    assert "invented" not in text
    assert all(line.startswith("#") or len(line.split(" ")) == 2 for line in text.splitlines())


def test_the_reference_and_the_page_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "src=" not in answer.text.replace("srcObject", "")
    schema = client.get("/openapi.json").json()
    assert {"/predict", "/timeline", "/card", "/health", "/metrics"} <= set(schema["paths"])
