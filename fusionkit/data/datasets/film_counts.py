"""The number of clips of every actor and class, beside how many there should be, in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby


def count_clips(
    what: str, clips: Iterable[tuple[str, str]], whole: Mapping[str, Mapping[str, int]], classes: Sequence[str]
) -> list[str]:
    """Counts the clips by class, the actors that have fewer than they should, and the actors that have none.

    Args:
        what: What the clips are, such as ``speech clips``.
        clips: The actor and the class of every clip.
        whole: By actor, how many clips of every class the whole dataset has.
        classes: The classes in order.

    Example:
        >>> whole = {"1": {"calm": 2}, "2": {"calm": 2, "sad": 1}, "3": {"sad": 1}}
        >>> for note in count_clips("clips", [("1", "calm"), ("1", "calm"), ("2", "calm")], whole, ["calm", "sad"]):
        ...     print(note)
        3 clips of 2 actors: calm 3, sad 0
        incomplete actors: 2 has 1 of 3 clips (calm 1 of 2, sad 0 of 1)
        actors that the data lack: 3
    """
    here: dict[str, Counter[str]] = defaultdict(Counter)
    for actor, name in clips:
        here[actor][name] += 1
    totals = sum(here.values(), Counter())
    table = ", ".join(f"{name} {totals[name]:,}" for name in classes)
    notes = [f"{totals.total():,} {what} of {len(here)} actors: {table}"]
    lacking: dict[str, list[str]] = defaultdict(list)
    for actor in sorted(here):
        wanted = whole.get(actor, {})
        short = [f"{name} {here[actor][name]} of {wanted[name]}" for name in wanted if here[actor][name] < wanted[name]]
        if short:
            count = f"{here[actor].total()} of {sum(wanted.values())} {what} ({', '.join(short)})"
            lacking[count].append(actor)
    if lacking:
        sentences = [
            f"{join_ranges(names)} {'has' if len(names) == 1 else 'have'} {text}" for text, names in lacking.items()
        ]
        notes.append("incomplete actors: " + "; ".join(sentences))
    absent = [actor for actor in whole if actor not in here]
    if absent:
        notes.append(f"actors that the data lack: {join_ranges(absent)}")
    return notes


def join_ranges(names: Sequence[str]) -> str:
    """Puts numbers in words, each run of three and more by its ends.

    Example:
        >>> join_ranges(["01", "03", "04", "05", "08", "09"])
        '01, 03 to 05, 08, 09'
    """
    found: list[str] = []
    for _, run in groupby(enumerate(names), key=lambda item: int(item[1]) - item[0]):
        members = [name for _, name in run]
        found += [f"{members[0]} to {members[-1]}"] if len(members) > 2 else members
    return ", ".join(found)
