"""The passes of a network over a test part, with one modality corrupted at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.data.seeds import make_generator
from fusionkit.evaluation.robustness.corruptions import add_noise, draw_hit, lag, partners, shift_elements
from fusionkit.evaluation.robustness.levels import Levels
from fusionkit.evaluation.robustness.spread import Measured
from fusionkit.inference.branches import TrainedBranches
from fusionkit.inference.scoring import score_batch
from fusionkit.interfaces import Batch, ModelOutput
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged

Pass = tuple[str, str, float]
"""Corruption, modality and level; of missing and swap only level 1 is a pass of its own."""

UNTOUCHED: Pass = ("", "", 0.0)


class Passes:
    """The passes of a run's network over its test part, and what each level takes from them.

    In evaluation mode no sample depends on another. So who lacks a modality, or has another's, is answered by one
    pass in which all do, and every level takes the answers of those that it hits.

    Args:
        assembly: The recipe and its data.
        branches: The branches that speak.
        measured: By modality that is corrupted, what the test part is like.
        levels: The levels of every corruption.
        corruptions: What befalls the modalities, of `CORRUPTIONS`.
        seed: The seed of what is drawn.
    """

    def __init__(
        self,
        assembly: Assembly,
        branches: TrainedBranches,
        measured: Mapping[str, Measured],
        *,
        levels: Levels,
        corruptions: Sequence[str],
        seed: int,
    ) -> None:
        self._assembly, self._branches, self._measured = assembly, branches, measured
        self._levels, self._corruptions, self._seed = levels, corruptions, seed
        self._names = assembly.test_ids
        group_of = {row.id: row.group if row.group is not None else row.id for row in assembly.dataset.rows}
        self._groups = tuple(group_of[name] for name in self._names)
        self._partners = {
            name: partners(self._names, self._groups, of.present, seed, f"swap/{name}") for name, of in measured.items()
        }

    def wanted(self) -> Iterator[Pass]:
        """Yields every point, in the order of the results."""
        for corruption in self._corruptions:
            for name in self._measured:
                yield from ((corruption, name, level) for level in self._levels_of(corruption, name))

    def notes(self) -> Iterator[str]:
        """Yields what could not be done, and whom a modality was taken from against expectation."""
        for name, of in self._measured.items():
            if "shift" in self._corruptions and of.static:
                yield f"{name} has one element a sample, so there is no shift of it."
            if "swap" in self._corruptions and int(of.present.sum()) < 2:
                yield f"Fewer than two samples have {name}, so none can have another's."
            elif "swap" in self._corruptions and (within := self._swap_within_groups(name, of)):
                yield f"Samples of one group have most of {name}, so {within} of them swap it among each other."

    def _swap_within_groups(self, name: str, of: Measured) -> int:
        pairs = [(place, other) for place, other in enumerate(self._partners[name]) if of.sizes[place]]
        return sum(self._groups[place] == self._groups[other] for place, other in pairs)

    def _levels_of(self, corruption: str, name: str) -> Sequence[float]:
        of = self._measured[name]
        if (corruption == "shift" and of.static) or (corruption == "swap" and int(of.present.sum()) < 2):
            return ()
        by_corruption: Mapping[str, Sequence[float]] = {
            "missing": self._levels.missing,
            "noise": self._levels.noise,
            "shift": self._levels.shift_share if of.rate is None else self._levels.shift,
            "swap": self._levels.swap,
        }
        return by_corruption[corruption]

    def run(self, model: FusionModel, device: torch.device) -> tuple[dict[Pass, ModelOutput], list[Batch]]:
        """Runs the network in every pass, and returns its answers and the batches without their inputs."""
        outputs: dict[Pass, list[ModelOutput]] = {}
        batches: list[Batch] = []
        swapped = {name: self._stream(name) for name in self._measured if "swap" in self._corruptions}
        with torch.inference_mode():
            for batch in self._assembly.loader(self._names, training=False):
                batches.append(replace(batch, inputs={}))  # the films of a whole test part do not fit into memory
                with name_batch("stress", batch, device):
                    whole = batch.to(device).inputs
                    for key, changed in self._changed(batch, swapped):
                        inputs = whole if changed is None else {**whole, key[1]: changed.to(device)}
                        said = score_batch(model, self._branches, inputs)
                        outputs.setdefault(key, []).append(replace(said, features={}))
        return {key: _joined(said) for key, said in outputs.items()}, batches

    def _changed(self, batch: Batch, swapped: Mapping[str, Iterator[Tensor]]) -> Iterator[tuple[Pass, Jagged | None]]:
        """Yields the passes over a batch, each with what takes the place of its modality; None leaves it as it is."""
        yield UNTOUCHED, None
        for name, of in self._measured.items():
            values = batch.inputs[name]
            if "missing" in self._corruptions:
                yield ("missing", name, 1.0), Jagged.empty(len(values), values.element_shape, like=values.values)
            if "swap" in self._corruptions:
                others = [next(swapped[name]) for _ in range(len(values))]
                if self._levels_of("swap", name):
                    yield ("swap", name, 1.0), Jagged.from_list(others)
            samples = values.unbind()
            if "noise" in self._corruptions:
                drawn = [self._draw(name, *each) for each in zip(batch.sample_ids, samples, strict=True)]
                for level in filter(None, self._levels_of("noise", name)):
                    changed = [
                        add_noise(sample, of.deviation, level, draws)
                        for sample, draws in zip(samples, drawn, strict=True)
                    ]
                    yield ("noise", name, level), Jagged.from_list(changed)
            if "shift" in self._corruptions:
                for level in filter(None, self._levels_of("shift", name)):
                    changed = [shift_elements(sample, lag(level, len(sample), of.rate)) for sample in samples]
                    yield ("shift", name, level), Jagged.from_list(changed)

    def _draw(self, name: str, sample_id: str, sample: Tensor) -> Tensor:
        return torch.randn(sample.shape, generator=make_generator(self._seed, 0, 0, f"noise/{name}/{sample_id}"))

    def _stream(self, name: str) -> Iterator[Tensor]:
        """Yields the modality of each sample's partner, in the order of the samples, however the batches are cut."""
        ids = [self._names[place] for place in self._partners[name]]
        for batch in self._assembly.loader(ids, training=False, modalities=[name]):
            yield from batch.inputs[name].unbind()

    def said(self, outputs: Mapping[Pass, ModelOutput], corruption: str, name: str, level: float) -> ModelOutput:
        """Returns the answers at a level: for those that it hits, the answers to them in a pass of their own."""
        untouched = outputs[UNTOUCHED]
        if level == 0:
            return untouched
        if corruption in ("noise", "shift"):
            return outputs[corruption, name, level]
        mask = draw_hit(self._names, self._measured[name].present, level, self._seed, f"{corruption}/{name}")
        return _mixed(untouched, outputs[corruption, name, 1.0], mask)


def _joined(outputs: Sequence[ModelOutput]) -> ModelOutput:
    """Joins the answers of all batches, on the CPU."""

    def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}

    return ModelOutput(
        fused=joined([output.fused for output in outputs]),
        unimodal={name: joined([output.unimodal[name] for output in outputs]) for name in outputs[0].unimodal},
        features={},
        present=joined([output.present for output in outputs]),
    )


def _mixed(untouched: ModelOutput, changed: ModelOutput, mask: Tensor) -> ModelOutput:
    """Takes for each sample the answer to it when it was changed, where the mask says so."""

    def mixed(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
        chosen = {name: mask.reshape(-1, *[1] * (values.ndim - 1)) for name, values in first.items()}
        return {name: torch.where(chosen[name], second[name], values) for name, values in first.items()}

    return ModelOutput(
        fused=mixed(untouched.fused, changed.fused),
        unimodal={name: mixed(of, changed.unimodal[name]) for name, of in untouched.unimodal.items()},
        features={},
        present=mixed(untouched.present, changed.present),
    )
