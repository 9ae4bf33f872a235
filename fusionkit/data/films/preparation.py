"""All clips of a dataset to the cache: what is there is kept, what is not is done on several processes."""

from __future__ import annotations

import statistics
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fusionkit.config.components.specs import DetectorSpec
from fusionkit.config.plugins import import_plugins
from fusionkit.config.recipe import build_component
from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.cache import describe_sources, write_clip
from fusionkit.data.films.clips import Outcome, prepare_clip
from fusionkit.data.films.prepared import PreparedDataset
from fusionkit.data.films.records import ClipRecord, Departure
from fusionkit.data.films.report import Preparation, write_report
from fusionkit.errors import FusionKitError, RunError
from fusionkit.execution.workers import Death, count_processors, run_jobs, show_progress, use_one_thread
from fusionkit.interfaces import Clip, Dataset, FaceDetector
from fusionkit.nn.memory import is_full
from fusionkit.storage.locks import lock_folder

_FULL = "this machine's memory is full; prepare with fewer --processes, or cut the film into shorter ones"


@dataclass(frozen=True)
class _Job:
    """A clip that is to be prepared."""

    id: str
    clip: Clip
    file: Path
    spec: PrepareSpec
    plugins: tuple[str, ...]


@dataclass(frozen=True)
class _MemoryFailure:
    """Memory ran out over a clip, which says nothing of the clip: no record is written, and it is done again."""


@dataclass(frozen=True)
class _WriteFailure:
    """The file of a clip could not be written, for want of space for example."""

    error: str


def prepare(
    dataset: Dataset,
    spec: PrepareSpec,
    *,
    kind: str,
    plugins: tuple[str, ...] = (),
    processes: int | None = None,
    progress: bool = False,
    retry: bool = False,
    check: bool = False,
) -> Preparation:
    """Prepares the clips of a dataset that are not prepared yet.

    A clip is prepared where its file is in the cache and its sources, the settings and the detector are still the
    same. Files are written in one piece, so a preparation that is stopped or killed loses the clips in work alone, and
    the same call again gives the files that an undisturbed one gives, byte for byte. What a policy drops or fails
    leaves a record, and is not done again. A clip whose process dies is the only one to suffer, leaves no record, and
    is done again. With several processes a script calls this under ``if __name__ == "__main__":``.

    Args:
        dataset: The dataset that states the clips.
        spec: How they are prepared.
        kind: The dataset's name in recipes.
        plugins: Modules of the user's own components, for the processes to import.
        processes: Clips at a time, each on one thread; as many as there are processors when left out.
        progress: Show a bar with the remaining time.
        retry: Do those again that were dropped or failed.
        check: Read every prepared clip and its films, and do those again whose content does not match its hash, or
            whose films hold other bytes than they were made from.

    Raises:
        RecipeError: The face detector's options are wrong, or what it needs is not installed.
        RunError: The cache cannot be written, or another process is preparing into it; the clips so far are kept.
    """
    before = PreparedDataset(dataset, spec, kind=kind, check=check)
    cache, files = before.cache, before.files
    kept = {name: record for name, record in before.records.items() if not retry or record.status == "prepared"}
    jobs = [_Job(name, clip, files[name], spec, plugins) for name, clip in dataset.clips.items() if name not in kept]
    made: dict[str, ClipRecord] = {}
    deaths: dict[str, str] = {}
    if jobs:
        _load_detector(
            spec.face.detector.model_dump_json(), plugins
        )  # what it lacks is said once, before anything starts
        cache.create()
        with lock_folder(cache.folder), show_progress("clips", len(jobs), len(kept), shown=progress) as advance:
            cache.forget_list()

            def take_result(job: _Job, result: ClipRecord | _WriteFailure | _MemoryFailure | Death) -> None:
                if isinstance(result, _WriteFailure):
                    raise RunError(f"{result.error}; the clips so far are kept")
                if isinstance(result, Death | _MemoryFailure):
                    deaths[job.id] = _describe_cause(result) if isinstance(result, Death) else _FULL
                    advance(f"{job.id}: {deaths[job.id]}")
                    return
                made[job.id] = result
                advance(f"{job.id}: {result.reason}" if result.status == "failed" else "")

            run_jobs(jobs, _do, processes or count_processors(), take_result)
    records = {name: kept.get(name) or made[name] for name in dataset.clips if name in kept or name in made}
    result = Preparation(
        cache.folder, cache.written_report_file, records, len(kept), deaths, spec, tuple(dataset.notes)
    )
    if jobs or not cache.is_complete:
        cache.write_list({files[name]: record for name, record in records.items()})
        write_report(cache, result)
    return result


@dataclass(frozen=True)
class PreparationCost:
    """The cost of what is left to be prepared of a dataset.

    Args:
        clips: Clips that are not prepared yet, or have changed since.
        clip_seconds: Seconds of one, on one thread: the median of some that were prepared for the clock alone.
    """

    clips: int
    clip_seconds: float

    def estimate_hours(self, processes: int) -> float:
        """Estimates the hours with so many processes."""
        return self.clips * self.clip_seconds / 3600 / max(1, min(processes, self.clips))


def estimate_preparation(
    dataset: Dataset, spec: PrepareSpec, *, kind: str, plugins: tuple[str, ...] = (), timed: int = 3
) -> PreparationCost:
    """Prepares a few clips, evenly spaced among those that wait, without writing them.

    Args:
        dataset: The dataset that states the clips.
        spec: How they are prepared.
        kind: The dataset's name in recipes.
        plugins: Modules of the user's own components.
        timed: How many clips.
    """
    records = PreparedDataset(dataset, spec, kind=kind).records
    waiting = [clip for name, clip in dataset.clips.items() if name not in records]
    detector = _load_detector(spec.face.detector.model_dump_json(), plugins) if waiting and timed else None
    seconds = []
    with use_one_thread():
        for clip in waiting[:: max(1, len(waiting) // max(1, timed))][:timed]:
            start = time.perf_counter()
            assert detector is not None
            prepare_clip(clip, spec, detector)
            seconds.append(time.perf_counter() - start)
    return PreparationCost(len(waiting), statistics.median(seconds) if seconds else 0.0)


def _do(job: _Job) -> ClipRecord | _WriteFailure | _MemoryFailure:
    """Prepares one clip; what goes wrong is returned, so that others go on."""
    version = ""
    try:
        detector = _load_detector(job.spec.face.detector.model_dump_json(), job.plugins)
        version = detector.version
        outcome = prepare_clip(job.clip, job.spec, detector)
    except FusionKitError as error:
        outcome = _make_failure(str(error), str(error))
    except Exception as error:  # reported with the clip; the other clips are worth having
        if is_full(error):
            return _MemoryFailure()
        outcome = _make_failure(f"{type(error).__name__}: {error}", traceback.format_exc())
    record = ClipRecord(
        id=job.id,
        status=outcome.status,
        reason=outcome.reason,
        detector=version,
        sources=describe_sources(job.clip),
        lengths={name: len(values) for name, values in outcome.tensors.items()},
        departures=outcome.departures,
    )
    try:
        return write_clip(job.file, record, outcome.tensors)
    except RunError as error:
        return _WriteFailure(str(error))


def _make_failure(reason: str, details: str) -> Outcome:
    return Outcome("failed", reason, {}, (Departure("failed", details),))


def _describe_cause(death: Death) -> str:
    if death.status is None or death.status >= 0:
        return f"its process ended with exit status {death.status}"
    return f"its process was ended by signal {-death.status}" + (" (out of memory?)" if death.status == -9 else "")


@lru_cache(maxsize=1)
def _load_detector(spec: str, plugins: tuple[str, ...]) -> FaceDetector:
    """Builds the face detector, once per process."""
    import_plugins(plugins)
    detector: FaceDetector = build_component(DetectorSpec.model_validate_json(spec))
    return detector
