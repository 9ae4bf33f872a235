"""Cases that are tried one after another: each works, or is refused by name, within its time."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from fusionkit.errors import FusionKitError

LIMIT = 10.0
"""Seconds that a case may take."""

MEMORY = 2**30
"""Bytes by which the memory of the process may grow in a case."""

LONGEST = 5000
"""Letters of an error at most: a screenful."""

SEED = os.environ.get("FUSIONKIT_FUZZ_SEED", "0")
MINUTES = float(os.environ.get("FUSIONKIT_FUZZ_MINUTES", "0"))
"""How long all fuzz tests together go on; without it each tries a fixed number of cases."""


class TooSlowError(BaseException):
    """A case that does not come to an end; no reader may catch it."""


@dataclass
class Trials:
    """What is tried under one name, and what came of it.

    Every case is drawn from the name, the seed and its number, so that it can be tried again by itself.

    Args:
        name: What is tried.
        seconds: How long to go on after the fixed number of cases.
    """

    name: str
    seconds: float
    tried: int = 0
    refused: int = 0
    longest: float = 0.0
    began: float = field(default_factory=time.monotonic)
    broken: dict[str, str] = field(default_factory=dict)

    def cases(self, count: int) -> Iterator[random.Random]:
        """The generator of each case: so many, and more as long as there is time."""
        end = time.monotonic() + self.seconds
        while self.tried < count or time.monotonic() < end:
            case = self.tried
            yield random.Random(f"{self.name} {SEED} {case}")
            if self.tried != case + 1:
                raise AssertionError(f"case {case} of {self.name} was drawn and not tried")

    def attempt(self, case: Callable[[], object], *, names: str | Path = "") -> bool:
        """Whether a case works; a refusal must name the file, and everything else is noted as broken.

        Args:
            case: Reads what was damaged.
            names: What the message of a refusal must hold.
        """
        number, start, works = self.tried, time.monotonic(), False
        self.tried += 1
        try:
            with _limited():
                case()
            works = True
        except FusionKitError as error:
            text = str(error)
            self.refused += 1
            if str(names) not in text or not text or len(text) > LONGEST:
                self._note(number, f"an error of {len(text)} letters that must name {names}: {text[:500]}", error)
        except (Exception, TooSlowError) as error:
            self._note(number, str(error)[:500], error)
        self.longest = max(self.longest, time.monotonic() - start)
        return works

    def figures(self) -> dict[str, float | int | str]:
        """What came of it, as plain data."""
        seconds = round(time.monotonic() - self.began, 1)
        return {
            "name": self.name,
            "tried": self.tried,
            "refused": self.refused,
            "longest": round(self.longest, 3),
            "seconds": seconds,
        }

    def _note(self, number: int, message: str, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if f"fusionkit{os.sep}" in frame.filename and "tests" not in frame.filename]
        last = own[-1] if own else frames[-1]
        place = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
        self.broken.setdefault(place, f"case {number} of {self.name}, seed {SEED}: {place}: {message}")


@contextmanager
def _limited() -> Iterator[None]:
    """A limit of time and, where the system says how much is in use, of memory."""
    memory = resource.getrlimit(resource.RLIMIT_AS)
    in_use = Path("/proc/self/statm")
    if in_use.exists():
        pages = int(in_use.read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, memory[1]))
    handler = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, memory)


def _stop(number: int, frame: FrameType | None) -> None:
    raise TooSlowError(f"it does not come to an end within {LIMIT:.0f} s")
