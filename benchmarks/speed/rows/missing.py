"""The network beside its bare encoders where clips lack a modality."""

from __future__ import annotations

from collections.abc import Sequence

from networks import bare_encoders, clips, mrpn, targets
from records import Measurement, Target
from rounds import compare

from rows.encoders import encoders_alone, learn, loss_of, size_at
from rows.registry import Place, row


@row("R_miss", "half of the clips lack a modality: forward and backward of N2 / of its encoders on what is present")
def missing_time(place: Place) -> Sequence[Measurement]:
    """Times the whole network beside its encoders on the elements that are there."""
    size = size_at(place)
    model, encoders = mrpn(size).to(place.device).train(), bare_encoders().to(place.device).train()
    batches, wanted = clips(size, place.device, lacking=True), targets(size, place.device)
    measured = compare(
        lambda turn: learn(model, lambda: loss_of(model, batches[turn % len(batches)], wanted)),
        lambda turn: learn(encoders, lambda: encoders_alone(encoders, batches[turn % len(batches)])),
        place.device,
        rounds=place.rounds,
    )
    more = {"lengths": [{name: list(of.sizes) for name, of in batch.items()} for batch in batches]}
    target = Target(figure="high", sign="<=", limit=1.05)
    return [Measurement(what=size.describe(), measured=measured, target=target, more=more)]
