"""The profile of a stage's steps: the parts of one, its operators, and what to try."""

from __future__ import annotations

from dataclasses import dataclass

LONG_CALL = 50e-6
"""Seconds from which a call of an operator is more than what any call costs, however little it computes."""


def name_part(part: str, modality: str | None) -> str:
    """Names a part as tables, traces and timers do."""
    return part if modality is None else f"{modality}: {part}"


@dataclass(frozen=True)
class Share:
    """The time of a part of a step.

    Args:
        part: What is done, such as ``backward``.
        modality: The modality whose part it is; None where it is nobody's own.
        seconds: Mean over the timed steps.
        share: Of the whole step.
    """

    part: str
    modality: str | None
    seconds: float
    share: float

    @property
    def name(self) -> str:
        """The part and its modality."""
        return name_part(self.part, self.modality)


@dataclass(frozen=True)
class Operator:
    """The time of an operator of PyTorch in a traced step.

    Args:
        name: Its name.
        calls: Calls of it.
        seconds: Seconds in it, without those of operators that it calls; on a GPU those of its kernels. Of several
            traced steps the one with fewer counts: something else may have interrupted a call in the other.
    """

    name: str
    calls: int
    seconds: float


@dataclass(frozen=True)
class Calls:
    """The calls of all operators of PyTorch in a traced step, of several the one in which they took least.

    Args:
        count: How many.
        seconds: Seconds in them; on a GPU those of their kernels.
        long_seconds: Of these, seconds in calls that took `LONG_CALL` or longer: the rest is what calls cost.
    """

    count: int = 0
    seconds: float = 0.0
    long_seconds: float = 0.0


@dataclass(frozen=True)
class StageProfile:
    """The time of a stage's steps, and its parts.

    Args:
        stage: The stage.
        device: Where it computes.
        batches: Batches of its first epoch.
        skipped: Steps that warmed up.
        steps: Steps that were timed.
        filling: Of these, steps in which samples were loaded that later ones take from memory (``data.cache``).
        step_samples: Mean samples of one.
        step_seconds: Mean seconds of one.
        median_seconds: Their median.
        parts: What a step consists of; their seconds add up to `step_seconds`.
        operators: The heaviest ones of a traced step, where they are worth telling.
        calls: The calls of all of them.
        advice: What follows for the recipe.
    """

    stage: str
    device: str
    batches: int
    skipped: int
    steps: int
    filling: int
    step_samples: float
    step_seconds: float
    median_seconds: float
    parts: tuple[Share, ...]
    operators: tuple[Operator, ...]
    calls: Calls
    advice: str = ""

    @property
    def clips_per_second(self) -> float:
        """Samples that the timed steps learnt from in a second."""
        return self.step_samples / self.step_seconds

    def share(self, *parts: str) -> float:
        """Returns the share of a step that these parts have, of all modalities together."""
        return sum(each.share for each in self.parts if each.part in parts)
