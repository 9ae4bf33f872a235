"""A training loop of your own around `fusionkit.build`: the network is an ordinary PyTorch module.

The sound of a sample is a sequence of any length, its face one vector. Every branch has its own loss (N1, N2).
"""

import torch

import fusionkit
from fusionkit import Jagged

CLASSES = ["calm", "happy", "sad"]


def make_batch(size: int, generator: torch.Generator) -> tuple[dict[str, Jagged | torch.Tensor], torch.Tensor]:
    """Samples whose sound tells happy from the rest, and whose face tells sad from the rest."""
    label = torch.randint(len(CLASSES), (size,), generator=generator)
    lengths = torch.randint(5, 30, (size,), generator=generator).tolist()
    sound = [
        torch.randn(length, 4, generator=generator) + float(kind == 1)
        for length, kind in zip(lengths, label.tolist(), strict=True)
    ]
    face = torch.randn(size, 6, generator=generator) + 1.5 * (label == 2)[:, None]
    return {"sound": Jagged.from_list(sound), "face": face}, label


def main(steps: int = 60) -> float:
    """Trains, and returns the accuracy on new samples."""
    torch.manual_seed(0)
    model = fusionkit.build(
        {
            "modalities": {
                "sound": {"shape": [4], "encoder": "mlp", "aggregator": {"type": "gru", "hidden": 16}},
                "face": {"shape": [6], "encoder": "mlp"},
            },
            "fusion": "mrpn",
            "targets": {"emotion": {"type": "classification", "classes": CLASSES}},
        }
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs, label = make_batch(32, generator)
        terms = model.losses(model(inputs), {"emotion": label})  # fused/emotion, sound/emotion, face/emotion
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    inputs, label = make_batch(300, generator)
    with torch.no_grad():
        scores = model.eval()(inputs).fused["emotion"]
    return float((scores.argmax(dim=1) == label).float().mean())


if __name__ == "__main__":
    print(f"accuracy {main():.3f}")
