"""A trained network in use: whatever a sample is given as, the answer is the one of its evaluation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction

import torch

from fusionkit.config.schema import Recipe
from fusionkit.data.loading.failures import name_batch
from fusionkit.data.readers.files import expand_path
from fusionkit.data.recordings import Recording, find_recordings
from fusionkit.data.recordings.search import describe_error, is_one_sample
from fusionkit.errors import DataError, Problem, ShapeError
from fusionkit.inference.answers import Answer, AnsweredTarget, Answers
from fusionkit.inference.backend import Backend, Said
from fusionkit.inference.branches import CONSTANT, TrainedBranches
from fusionkit.inference.calibration.calibrator import Calibrator
from fusionkit.inference.description import Description
from fusionkit.inference.input_steps import InputSteps
from fusionkit.inference.publication.folder import write_publication
from fusionkit.inference.publication.hub import SCHEME, publish
from fusionkit.inference.requests import Requests, split_batch
from fusionkit.inference.timeline.live import LiveStream
from fusionkit.inference.timeline.records import Timeline
from fusionkit.inference.timeline.whole import make_timeline
from fusionkit.interfaces import Batch
from fusionkit.models.network import FusionModel
from fusionkit.storage.records.inputs import Inputs
from fusionkit.storage.run_folder import RunFolder


class Predictor:
    """Trained networks of one recipe, with everything between a user's sample and an answer in the user's unit.

    Make one with `fusionkit.load`. It has the preparation of films, the transforms as in evaluation, the network, the
    scale of its targets and the names of its classes; it needs neither the data nor the table of the training. Several
    networks, of folds and seeds, answer by the mean of their probabilities or numbers. Answers do not depend on what
    else is in a batch, but to rounding.

    Args:
        backend: The networks.
        steps: The way of samples to them.
        main: The branch that answers; the one that stands for a run when left out.
        calibrator: Their calibration.
        runs: The runs that they come from, for sharing.

    Attributes:
        backend: The networks, as they compute.
        steps: The way of samples to them.
        main: The branch that answers.
        calibrator: Their calibration.
        runs: The runs that they come from.
    """

    def __init__(
        self,
        backend: Backend,
        steps: InputSteps,
        *,
        main: str | None = None,
        calibrator: Calibrator | None = None,
        runs: Sequence[RunFolder] = (),
    ) -> None:
        self.backend, self.steps = backend, steps
        self.main = backend.main if main is None else main
        self.calibrator = calibrator or Calibrator(None, "these networks")
        self.runs = tuple(runs)
        self._description = Description(
            backend.targets, backend.branches, self.main, backend.modalities, self.calibrator
        )

    @property
    def networks(self) -> tuple[FusionModel, ...]:
        """The networks of torch, in evaluation mode; none where an exported graph answers."""
        return self.backend.models

    @property
    def branches(self) -> TrainedBranches:
        """The branches that are trained."""
        return self.backend.branches

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of the networks; None where an exported graph answers."""
        return self.backend.recipe

    @property
    def inputs(self) -> Inputs:
        """Descriptions of what the networks are given."""
        return self.steps.inputs

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self.backend.device

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the order of the network."""
        return self.backend.modalities

    @property
    def targets(self) -> Mapping[str, AnsweredTarget]:
        """The targets, and how answers to them are worded."""
        return self.backend.targets

    @property
    def identity(self) -> str:
        """A hash of the networks, their calibration and the branch that answers."""
        described = [self.backend.identity, self.main, repr(self.calibrator.calibration)]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def predict(
        self,
        inputs: object,
        *,
        branches: bool = False,
        level: float | None = None,
        batch_size: int | None = None,
        budget: int | None = None,
        workers: int | None = 0,
        root: str | os.PathLike[str] | None = None,
    ) -> Answers:
        """Answers to samples; to one that cannot be used with the reason, unless it is the only one.

        Args:
            inputs: A sample: a mapping of modalities to arrays, tensors or paths (those left out are missing), or the
                path of a film, sound, image or array. Many samples: a list of these, a pandas or polars table, or the
                path of a table or of a folder. Packed sequences (`Jagged`) are as many samples as they hold.
            branches: Answer by every trained branch as well: each modality by itself, and the ensembles.
            level: Give calibrated probabilities, and sets or intervals that hold the truth in this share of cases.
            batch_size: Samples of a batch; the recipe's when left out.
            budget: Instead, elements of the longest modality of a batch.
            workers: Processes that read and prepare ahead; None leaves the choice, see `Requests`.
            root: The folder that relative paths in tables start from; without it that of the table.

        Raises:
            DataError: The inputs are no samples, a path leads nowhere, or the only sample cannot be used.
            RunError: There is no calibration that gives the level.
        """
        requests = self.request(inputs, batch_size=batch_size, budget=budget, workers=workers, root=root)
        answers = [answer for batch in self.answer(requests, branches=branches, level=level) for answer in batch]
        if len(answers) == 1 and (failure := answers[0].failure) and is_one_sample(inputs):
            raise DataError([requests.locate(failure)])
        return Answers(answers, self.list_columns(branches=branches, level=level))

    def stream(
        self,
        window: float | None = 3.0,
        *,
        rates: Mapping[str, float] | None = None,
        pixel_aspect: float | Fraction = 1,
    ) -> LiveStream:
        """Makes a stream that takes what a camera, a microphone and sensors give, see `LiveStream`."""
        return LiveStream(self, window, rates=rates, pixel_aspect=pixel_aspect)

    def timeline(
        self,
        inputs: object,
        *,
        every: float = 0.2,
        window: float = 3.0,
        branches: bool = False,
        without: Collection[str] = (),
    ) -> Timeline:
        """Answers over time to one sample: every so many seconds, of the seconds before, see `make_timeline`."""
        return make_timeline(self, inputs, every=every, window=window, branches=branches, without=without)

    def request(
        self,
        inputs: object,
        *,
        batch_size: int | None = None,
        budget: int | None = None,
        workers: int | None = 0,
        root: str | os.PathLike[str] | None = None,
    ) -> Requests:
        """Finds the samples of `predict` and plans their batches, without reading them.

        Raises:
            DataError: The inputs are no samples, or a path leads nowhere.
        """
        found = [inputs] if isinstance(inputs, Recording) else find_recordings(inputs, self.inputs, root=root)
        if not found:
            raise DataError([Problem("inputs", "hold no sample")])
        return Requests(found, self.steps, batch_size=batch_size, budget=budget, workers=workers)

    def answer(
        self, requests: Requests, *, branches: bool = False, start: int = 0, level: float | None = None
    ) -> Iterator[list[Answer]]:
        """Answers batch by batch, so that memory does not grow with the number of samples.

        Args:
            requests: What `request` planned.
            branches: Answer by every trained branch as well.
            start: The batch to begin with.
            level: See `predict`.
        """
        if level is not None:
            for branch in self.list_answering(branches=branches):
                self.calibrator.require_level(branch, level)
        for batch in requests.read(start):
            yield self.answer_batch(batch, branches=branches, level=level)

    def answer_batch(self, batch: Batch, *, branches: bool = False, level: float | None = None) -> list[Answer]:
        """Answers to a batch; where the network cannot take one of its samples, to each by itself."""
        try:
            said = self.say(batch)
        except (DataError, ShapeError) as error:
            if len(batch.sample_ids) == 1:
                remarks, _ = batch.said.get(batch.sample_ids[0], ((), ""))
                return [Answer(batch.sample_ids[0], notes=remarks, failure=describe_error(error))]
            return [
                answer
                for one in split_batch(batch)
                for answer in self.answer_batch(one, branches=branches, level=level)
            ]
        return self.describe(batch, said, branches=branches, level=level)

    def say(self, batch: Batch) -> Said:
        """Computes what the networks say of a batch."""
        remedy = "give a smaller batch_size or budget, or shorter samples"
        with name_batch("prediction", batch, self.device, remedy):
            return self.backend.say(batch.to(self.device).inputs)

    def describe(self, batch: Batch, said: Said, *, branches: bool = False, level: float | None = None) -> list[Answer]:
        """Describes what is said of a batch as records."""
        return self._description.describe(batch, said, branches=branches, level=level)

    def list_answering(self, *, branches: bool = False) -> tuple[str, ...]:
        """Lists the branches that answer: the one, or every trained branch."""
        return tuple(name for name in self.branches.names if name != CONSTANT) if branches else (self.main,)

    def list_columns(self, *, branches: bool = False, level: float | None = None) -> list[str]:
        """Lists the columns of a table of answers, see `Answer.row`."""
        return self._description.list_columns(branches=branches, level=level is not None)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes the networks into a new folder for others, see `write_publication`."""
        write_publication(self, expand_path(folder))

    def push_to_hub(self, repository: str, *, public: bool = False, token: str | None = None) -> str:
        """Sends them to ``owner/name`` (or ``owner/name@branch``) of the hub, see `upload`; returns the commit."""
        return publish(self, f"{SCHEME}{repository.removeprefix(SCHEME)}", public=public, token=token)
