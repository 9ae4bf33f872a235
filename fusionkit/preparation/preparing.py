"""All clips of a dataset to the cache: what is there is kept, what is not is done on several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.errors import RunError
from fusionkit.interfaces import Clip, Dataset, FaceDetector
from fusionkit.preparation.cache import Cache, describe_sources, write_clip
from fusionkit.preparation.clips import prepare_clip
from fusionkit.preparation.prepared import Prepared
from fusionkit.preparation.records import ClipRecord
from fusionkit.processes import Death, processors, progress_bar, run_jobs
from fusionkit.recipe import build_component
from fusionkit.spec import PrepareSpec
from fusionkit.whole_files import as_json, write_file


@dataclass(frozen=True)
class Preparation:
    """What a preparation left.

    Args:
        folder: The folder of prepared clips.
        report: The file that says in words what was not plain.
        records: What is known of every clip, in the dataset's order.
        kept: How many of them were there already.
        deaths: By clip, why the process that prepared it died.
        spec: How they were prepared.
    """

    folder: Path
    report: Path
    records: Mapping[str, ClipRecord]
    kept: int
    deaths: Mapping[str, str]
    spec: PrepareSpec

    def count(self, status: str) -> int:
        """Clips of a status."""
        return sum(record.status == status for record in self.records.values())

    @property
    def minutes(self) -> Mapping[str, float]:
        """Minutes of film and sound."""
        rates = {"video": self.spec.frame_rate, "audio": float(self.spec.sample_rate)}
        return {
            name: sum(record.lengths.get(name, 0) for record in self.records.values()) / rate / 60
            for name, rate in rates.items()
        }

    @property
    def departures(self) -> Mapping[str, int]:
        """By kind, clips with something that was not plain; the commonest first."""
        kinds = Counter(
            kind for record in self.records.values() for kind in {departure.kind for departure in record.departures}
        )
        return dict(kinds.most_common())

    @property
    def failed(self) -> Mapping[str, str]:
        """By clip, why it failed or why its process died."""
        failed = {name: record.reason for name, record in self.records.items() if record.status == "failed"}
        return {**failed, **self.deaths}

    def plain(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "folder": str(self.folder),
            "clips": len(self.records) + len(self.deaths),
            "kept": self.kept,
            **{status: self.count(status) for status in ("prepared", "dropped", "failed")},
            "minutes": dict(self.minutes),
            "departures": dict(self.departures),
            "errors": dict(self.failed),
        }


@dataclass(frozen=True)
class _Job:
    """A clip that is to be prepared."""

    id: str
    clip: Clip
    file: Path
    spec: PrepareSpec


def prepare(
    dataset: Dataset,
    spec: PrepareSpec,
    *,
    kind: str,
    processes: int | None = None,
    progress: bool = False,
    retry: bool = False,
) -> Preparation:
    """Prepares the clips of a dataset that are not prepared yet.

    A clip is prepared where its file is in the cache and its sources, the settings and the detector are still the
    same. Files are written in one piece, so a preparation that is stopped or killed loses the clips in work alone, and
    the same call again gives the files that an undisturbed one gives. A clip whose process dies fails alone. With
    several processes a script calls this under ``if __name__ == "__main__":``.

    Args:
        dataset: The dataset that states the clips.
        spec: How they are prepared.
        kind: The dataset's name in recipes.
        processes: Clips at a time; as many as there are processors when left out.
        progress: Show a bar with the remaining time.
        retry: Do those again that were dropped or failed.

    Raises:
        RecipeError: The face detector's options are wrong.
        RunError: The cache cannot be written.
    """
    before = Prepared(dataset, spec, kind=kind)
    cache, files = before.cache, before.files
    kept = {name: record for name, record in before.records.items() if not retry or record.status == "prepared"}
    jobs = [_Job(name, clip, files[name], spec) for name, clip in dataset.clips.items() if name not in kept]
    made: dict[str, ClipRecord] = {}
    deaths: dict[str, str] = {}
    cache.create()
    if jobs:
        cache.forget_list()
    with progress_bar("clips", len(jobs), len(kept), shown=progress) as advance:

        def ended(job: _Job, result: ClipRecord | str | Death) -> None:
            if isinstance(result, ClipRecord):
                made[job.id] = result
                advance(f"{job.id}: {result.reason}" if result.status == "failed" else "")
                return
            if isinstance(result, Death):
                result = f"its process ended with exit status {result.status}"
            deaths[job.id] = result
            advance(f"{job.id}: {deaths[job.id]}")

        run_jobs(jobs, _do, processes or processors(), ended)
    records = {name: kept.get(name) or made[name] for name in dataset.clips if name in kept or name in made}
    cache.write_list({files[name]: record for name, record in records.items()})
    result = Preparation(cache.folder, cache.written_report_file, records, len(kept), deaths, spec)
    _write_report(cache, result)
    return result


_detectors: dict[str, FaceDetector] = {}


def _do(job: _Job) -> ClipRecord | str:
    key = job.spec.face.detector.model_dump_json()
    if key not in _detectors:
        _detectors[key] = build_component(job.spec.face.detector)
    detector = _detectors[key]
    outcome = prepare_clip(job.clip, job.spec, detector)
    record = ClipRecord(
        id=job.id,
        status=outcome.status,
        reason=outcome.reason,
        detector=detector.version,
        sources=describe_sources(job.clip),
        lengths={name: len(values) for name, values in outcome.tensors.items()},
        departures=outcome.departures,
    )
    try:
        return write_clip(job.file, record, outcome.tensors)
    except RunError as error:
        return str(error)


def _write_report(cache: Cache, result: Preparation) -> None:
    """Everything that was not plain, file by file, as data and in words."""
    unplain = [record for record in result.records.values() if record.departures or record.status != "prepared"]
    plain = {**result.plain(), "files": [record.plain() for record in unplain]}
    write_file(cache.report_file, as_json(plain))
    write_file(cache.written_report_file, "\n".join(_in_words(result, unplain)).encode())


def _in_words(result: Preparation, unplain: Sequence[ClipRecord]) -> list[str]:
    lines = ["# What was not plain", ""]
    lines += [f"{len(unplain)} of {len(result.records)} clips; every other one was prepared without a word.", ""]
    for record in unplain:
        said = f"**{record.status}**: {record.reason}" if record.reason else record.status
        lines.append(f"- `{record.id}`: {said}")
        lines += [f"  - {departure.kind}: {departure.text}" for departure in record.departures]
    lines += [f"- `{name}`: **not prepared**: {reason}" for name, reason in result.deaths.items()]
    return [*lines, ""]
