"""The network: branches of modalities, their fusion, and the losses of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import call

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusionkit.errors import ShapeError, TrainingError, suggest_names
from fusionkit.interfaces import ElementEncoder, FeatureHook, Fusion, LossHead, ModelOutput
from fusionkit.models.branch import Branch, ByName, apply_dropout, name_modality
from fusionkit.models.inputs import Inputs, pack_inputs, refuse_unknown
from fusionkit.models.losses import compute_losses, compute_sample_losses, explain_absent
from fusionkit.nn.activation_checkpointing import call_beside_statistics
from fusionkit.nn.distributed import link_to_all
from fusionkit.nn.jagged import Jagged


class FusionModel(nn.Module):
    r"""N modalities, one fusion, K targets: N0, N1, N2 (MRPN) and everything between them.

    .. math::
        s = \mathrm{Scoring}(\mathrm{Fusion}(\hat f_1, \dots, \hat f_N)), \qquad
        L = \sum_m \sum_k L_{m,k} + \sum_k L_{\mathrm{fused},k}

    A missing modality enters the fusion as a learned placeholder; its branch has no loss and no batch statistic for
    that sample. In evaluation mode no sample depends on another, and uni-modal branches are silent unless asked for.

    Args:
        branches: A branch per modality, in the order of fusion.
        fusion: The fusion of the branches' features.
        heads: A fused loss head per target.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eqs. (7)-(9) and Fig. 7.
    """

    def __init__(self, branches: Mapping[str, Branch], fusion: Fusion, heads: Mapping[str, LossHead]) -> None:
        super().__init__()
        self.branches = ByName(branches)
        self.fusion = fusion
        self.heads = ByName(heads)
        self.placeholders = nn.ParameterDict(
            {f"of_{name}": nn.Parameter(torch.zeros(branch.out_features)) for name, branch in branches.items()}
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the order of fusion."""
        return tuple(self.branches)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets."""
        return tuple(self.heads)

    def branch(self, modality: str) -> Branch:
        """Returns the branch of a modality."""
        branch = self.branches[modality]
        assert isinstance(branch, Branch)
        return branch

    def head(self, target: str, modality: str | None = None) -> LossHead:
        """Returns the fused loss head of a target, or a modality's own."""
        head = self.heads[target] if modality is None else self.branch(modality).heads[target]
        assert isinstance(head, LossHead)
        return head

    def head_of(self, term: str) -> LossHead:
        """Returns the loss head of a term, ``fused/<target>`` or ``<modality>/<target>``."""
        branch, _, target = term.partition("/")
        return self.head(target, None if branch == "fused" else branch)

    def parts(self) -> dict[str, nn.ModuleList]:
        """Returns what a stage may train: every modality's branch, and ``"fusion"`` (placeholders, fused heads too)."""
        parts = {name: nn.ModuleList([branch]) for name, branch in self.branches.items()}
        return {**parts, "fusion": nn.ModuleList([self.fusion, self.heads, self.placeholders])}

    def channels_last(self) -> FusionModel:
        """Lays the kernels of 2-D convolutions out with channels innermost, as tensor cores and CPUs convolve fastest.

        Images of one channel do not say their layout, so the kernels have to. Numbers change by rounding only;
        training and evaluation of a recipe do it, a network that is built by hand may.
        """
        for parameter in self.parameters():
            if parameter.ndim == 4:
                # Not `contiguous`: kernels of one channel count as laid out either way, and say nothing then.
                kernel = parameter.data
                parameter.data = torch.empty_like(kernel, memory_format=torch.channels_last).copy_(kernel)
        return self

    def compile_encoders(self) -> None:
        """Compiles the encoders that take every element by itself, for any number of elements.

        The rest is less than a hundredth of the work, and its shapes change with every batch. Compiled are this
        network's own encoders: copies of it, and what its run folder holds, are not.
        """
        for name in self.modalities:
            for encoder in self.branch(name).encoders:
                if isinstance(encoder, ElementEncoder) and any(True for _ in encoder.parameters()):
                    encoder.compile_elements()

    def forward(
        self,
        inputs: Inputs,
        *,
        unimodal: bool | None = None,
        fused: bool = True,
        modalities: Sequence[str] | None = None,
        replace: FeatureHook | None = None,
    ) -> ModelOutput:
        """Scores a batch.

        Args:
            inputs: By modality a `Jagged`, or a tensor: ``(batch, *element)`` for one element each,
                ``(batch, time, *element)`` for sequences of one length. A modality that is left out is missing.
            unimodal: Score the uni-modal branches; in training mode by default, in evaluation mode not.
            fused: Score the fused branch.
            modalities: Compute these only; the fused branch takes the others as missing.
            replace: Called with features (before dropout) and presence; what it returns is fused instead.

        Raises:
            ShapeError: An unknown modality, elements of another shape, of another precision or of whole numbers that
                the first encoder does not take, or batches of different sizes.
        """
        branches = {name: self.branch(name) for name in self.modalities}
        batch = pack_inputs(inputs, branches, next(self.placeholders.parameters()))
        wanted = self.modalities if modalities is None else tuple(modalities)
        refuse_unknown("modalities", wanted, self.modalities)
        features: dict[str, Tensor] = {}
        sequences: dict[str, Jagged] = {}
        dropout: dict[str, Tensor | None] = {}
        for name in self.modalities:
            elements = batch[name]
            # Its samples are empty then, so its branch computes nothing and the fusion is given placeholders.
            if name not in wanted:
                elements = Jagged.empty(len(elements), elements.element_shape, like=elements.values)
            with name_modality(name):
                features[name], dropout[name], sequences[name] = branches[name](elements)
        scored = wanted if (self.training if unimodal is None else unimodal) else ()
        return self._make_output(features, sequences, dropout, scored, fused=fused, replace=replace)

    def score_sequences(self, sequences: Mapping[str, Jagged], *, unimodal: bool = False) -> ModelOutput:
        """Scores a batch that is encoded already, as `forward` does behind the encoders.

        Args:
            sequences: By modality, all of them, encoded sequences, as `ModelOutput.sequences` has them.
            unimodal: Score the uni-modal branches.
        """
        of = {name: self.branch(name).summarise(sequences[name]) for name in self.modalities}
        features = {name: found for name, (found, _) in of.items()}
        dropout = {name: drawn for name, (_, drawn) in of.items()}
        return self._make_output(features, sequences, dropout, self.modalities if unimodal else ())

    def fuse(
        self, output: ModelOutput, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Computes the fused scores by target of a batch, had it these features and were these samples present.

        In training it is part of the same step: gradients flow, dropout drops what it dropped in the output, and no
        running statistic moves.

        Args:
            output: What the model returned for the batch; a fusion that reads sequences is given its.
            features: By modality, ``(batch, out_features)``, before dropout.
            present: By modality, which samples have it.

        Raises:
            TrainingError: The features are others than the output's, but the fusion reads sequences.
        """
        if self.fusion.reads_sequences and any(features[name] is not output.features[name] for name in features):
            raise TrainingError(
                "the fusion reads sequences, and other features cannot replace them; take a fusion that reads vectors, "
                "such as concat, or another balancer"
            )
        return self._fuse(apply_dropout(features, output.dropout), present, output.sequences, call_beside_statistics)

    def fit_targets(self, targets: Mapping[str, Tensor]) -> None:
        """Tells every loss head, fused and uni-modal, the targets of the training samples; those of numbers are scaled.

        `fusionkit.train` does it once, before the first step. A loop of your own does the same, or numbers are learned
        in their own unit.

        Args:
            targets: By target, encoded ones of all training samples and of no others. One that is left out, or that no
                sample states, stays as it is.

        Raises:
            ShapeError: An unknown target, or one of another number of outputs.
        """
        for name, given in targets.items():
            if name not in self.heads:
                raise ShapeError(f"targets: unknown target {name!r}; {suggest_names(name, self.targets)}")
            known = given[self.head(name).find_known(given)]
            unimodal = [self.head(name, each) for each in self.modalities if name in self.branch(each).heads]
            for head in (self.head(name), *unimodal) if len(known) else ():
                try:
                    head.fit_targets(known)
                except ShapeError as error:
                    raise ShapeError(f"targets: {name}: {error}") from None

    def losses(
        self,
        output: ModelOutput,
        targets: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes named loss terms: ``fused/<target>`` and ``<modality>/<target>``, each a mean over samples.

        A sample counts in a term when its target is known and, in a modality's term, the modality is present. A
        term without any such sample is zero.

        Args:
            output: What the model returned.
            targets: Encoded targets, ``(batch,)`` or ``(batch, outputs)``; negative or NaN means missing.
            weights: By term, a weight per sample.

        Raises:
            ShapeError: A target of the model is missing from `targets`, has another number of samples, or is no tensor
                of what its loss head encodes. A class that there is not is refused on the CPU.
        """
        absent = sorted(set(self.targets) - set(targets))
        if absent:
            raise ShapeError(explain_absent(absent, targets, self.targets))
        return compute_losses(self.head_of, output, {name: targets[name] for name in self.targets}, weights or {})

    def loss_of(
        self, output: ModelOutput, targets: Mapping[str, Tensor], term: str, scores: Float[Tensor, "batch _"]
    ) -> Float[Tensor, " batch"]:
        """Returns the loss of each sample in a term, were these its scores; NaN where it does not count."""
        return compute_sample_losses(self.head_of(term), output, targets, term, scores)

    def distribution_of(self, term: str, scores: Float[Tensor, "batch _"]) -> Tensor:
        """Returns what a term's loss head makes of scores: probabilities of classes or labels, or numbers."""
        return self.head_of(term).distribution(scores)

    def _make_output(
        self,
        features: Mapping[str, Tensor],
        sequences: Mapping[str, Jagged],
        dropout: Mapping[str, Tensor | None],
        scored: Sequence[str],
        *,
        fused: bool = True,
        replace: FeatureHook | None = None,
    ) -> ModelOutput:
        link = link_to_all(self)
        features = {n: link(of) if of.requires_grad else of for n, of in features.items()}  # what is frozen stays so
        drawn = {name: factors for name, factors in dropout.items() if factors is not None}
        present = {name: sequences[name].present for name in self.modalities}
        dropped = apply_dropout(features, drawn)
        # Uni-modal heads score what their encoders gave: a balancer replaces features for the fusion alone.
        of_branches = {name: self.branch(name).score(dropped[name], sequences[name].sizes) for name in scored}
        # No mask where nobody is absent: fusions then skip what a mask would cost.
        masks: dict[str, Tensor | None] = {n: None if all(sequences[n].sizes) else present[n] for n in features}
        if fused and replace is not None:
            other, here = replace(features, present)
            dropped, masks = apply_dropout(other, drawn), dict(here)
        of_fused = self._fuse(dropped, masks, sequences, call) if fused else {}
        linked = {n: of.with_values(link(of.values)) if of.values.requires_grad else of for n, of in sequences.items()}
        return ModelOutput(
            fused={target: link(scores) for target, scores in of_fused.items()},
            unimodal={name: {t: link(scores) for t, scores in of.items()} for name, of in of_branches.items() if of},
            features=features,
            present=present,
            sequences=linked,
            dropout=drawn,
        )

    def _fuse(
        self,
        features: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None],
        sequences: Mapping[str, Jagged],
        run: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        filled = {}
        for name in self.modalities:
            mask, placeholder = masks[name], self.placeholders[f"of_{name}"].to(features[name].dtype)
            filled[name] = features[name] if mask is None else torch.where(mask[:, None], features[name], placeholder)
        extra = {"sequences": sequences} if self.fusion.reads_sequences else {}
        first = filled[self.modalities[0]]
        # Attention, also that of others' fusions, raises for a batch of nobody.
        vector = first.new_zeros(0, self.fusion.out_features)
        if len(first):
            vector = run(self.fusion, filled, masks, **extra)
        return {target: run(head, vector) for target, head in self.heads.items()}
