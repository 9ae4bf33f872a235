"""A model of fusionkit inside a Lightning Trainer, for those who have their training there.

fusionkit itself trains with `fusionkit train` and does not need this package: pip install pytorch-lightning
"""

import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader

import fusionkit
from fusionkit import Jagged

CLASSES = ["rest", "walk", "run", "jump"]
Sample = tuple[dict[str, torch.Tensor], int]
Batch = tuple[dict[str, Jagged], torch.Tensor]


class Classifier(lightning.LightningModule):
    """A network of two modalities."""

    def __init__(self) -> None:
        super().__init__()
        self.model = fusionkit.build(
            {
                "modalities": {
                    "motion": {"shape": [6], "encoder": "conv1d", "aggregator": "gru"},
                    "posture": {"shape": [8], "encoder": "mlp"},
                },
                "targets": {"label": {"type": "classification", "classes": CLASSES}},
            }
        )

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """Sums the loss terms, and logs each."""
        inputs, label = batch
        terms = self.model.losses(self.model(inputs), {"label": label})
        self.log_dict({name.replace("/", "_"): term.detach() for name, term in terms.items()}, batch_size=len(label))
        return torch.stack(list(terms.values())).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def collate(samples: list[Sample]) -> Batch:
    """Packs the samples of a batch; their lengths differ."""
    names = samples[0][0]
    packed = {name: Jagged.from_list([values[name] for values, _ in samples]) for name in names}
    return packed, torch.tensor([label for _, label in samples])


def main(epochs: int = 2) -> dict[str, float]:
    """Trains on synthetic data, and returns the last logged losses."""
    data = fusionkit.DATASETS.build("synthetic", groups=4, samples=4)
    samples: list[Sample] = [
        ({name: data.load(index)[name] for name in ("motion", "posture")}, CLASSES.index(row.targets["label"]))
        for index, row in enumerate(data.rows)
    ]
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(samples, batch_size=16, shuffle=True, collate_fn=collate)
    trainer.fit(Classifier(), loader)
    return {name: float(value) for name, value in trainer.logged_metrics.items()}


if __name__ == "__main__":
    print(main())
