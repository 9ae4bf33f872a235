"""A regression in which samples lack modalities: a missing one is a sequence of length zero.

The strength of an activity shows in the motion and in the heart rate. A third of the samples has no motion, another
third no heart rate. Nothing is imputed: where a modality is absent, a learned placeholder enters the fusion. The
strength is in percent: the network is told the training targets once, learns them in units of their spread, and its
loss head says percent again.
"""

import torch

import fusionkit
from fusionkit import Jagged

ABSENT = torch.zeros(0, 3)


def make_batch(size: int, generator: torch.Generator) -> tuple[dict[str, Jagged], torch.Tensor]:
    """Samples with motion of any length, a vector of the heart, or both; and their strength in percent."""
    strength = torch.rand(size, generator=generator)
    motion, heart = [], []
    for position, value in enumerate(strength.tolist()):
        length = int(torch.randint(4, 12, (), generator=generator))
        motion.append(value * torch.randn(length, 3, generator=generator) if position % 3 != 1 else ABSENT)
        heart.append(value + 0.15 * torch.randn(1, 2, generator=generator) if position % 3 != 2 else ABSENT[:, :2])
    return {"motion": Jagged.from_list(motion), "heart": Jagged.from_list(heart)}, 100 * strength[:, None]


def main(steps: int = 300) -> dict[str, float]:
    """Trains, and returns the mean absolute error with both modalities and with one of them."""
    torch.manual_seed(0)
    model = fusionkit.build(
        {
            "modalities": {
                "motion": {"shape": [3], "encoder": "conv1d", "aggregator": "attention"},
                "heart": {"shape": [2], "encoder": "mlp"},
            },
            "targets": {"strength": {"type": "regression", "loss": "huber"}},
        }
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    batches = [make_batch(32, generator) for _ in range(steps)]
    model.fit_targets({"strength": torch.cat([strength for _, strength in batches])})
    for inputs, strength in batches:
        terms = model.losses(model(inputs), {"strength": strength})
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    inputs, strength = make_batch(300, generator)
    with torch.no_grad():
        scores = model.eval()(inputs).fused["strength"]
    predicted = model.head("strength").distribution(scores)
    errors = (predicted - strength).abs().flatten()
    return {name: float(errors[first::3].mean()) for first, name in enumerate(("both", "heart only", "motion only"))}


if __name__ == "__main__":
    for name, error in main().items():
        print(f"{name:12} mean absolute error {error:.1f} %")
