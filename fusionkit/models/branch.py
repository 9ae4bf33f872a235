"""A branch of the network: one modality, from its elements to its feature vector and its own scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice, takewhile

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusionkit.errors import ElementError, FusionKitError, ShapeError, TrainingError
from fusionkit.interfaces import Aggregator, ElementEncoder, Encoder, Fitted, LossHead, Passes
from fusionkit.interfaces.elements import takes_whole_numbers_only
from fusionkit.nn.distributed import world_size
from fusionkit.nn.jagged import Jagged, make_indices
from fusionkit.nn.layers import FeatureNorm
from fusionkit.nn.memory import is_full


class ByName(nn.ModuleDict):
    """Modules by the names of a recipe, which may be those of a module's own attributes, such as ``type``."""

    def __setitem__(self, key: str, module: nn.Module) -> None:
        self._modules[key] = module


class Branch(nn.Module):
    r"""One modality, from its elements to its normalised feature vector and its own scores.

    .. math::
        \hat f_m = \mathrm{FeatureNorm}(A_m(F_m(x_m))), \qquad s_m = W \hat f_m + b

    Args:
        in_shape: Shape of one element.
        encoders: The chain F_m.
        aggregator: A_m.
        heads: A loss head per target; empty where uni-modal losses are switched off.
        dropout: Share of the normalised features that is dropped in training, before they are scored and fused.
        chunk: Elements that an encoder is given at once in evaluation where no gradient is wanted; None for as many as
            hold eight million numbers. A clip of any length then takes no more memory than so many elements, beside
            itself and its encoded vectors.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eqs. (1), (8).
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        encoders: Sequence[Encoder],
        aggregator: Aggregator,
        heads: Mapping[str, LossHead],
        *,
        dropout: float = 0.0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.in_shape, self.chunk = in_shape, chunk
        self.encoders = nn.ModuleList(encoders)
        self.aggregator = aggregator
        self.norm = FeatureNorm(aggregator.out_features)
        self.dropout = nn.Dropout(dropout)
        self.heads = ByName(heads)
        self.out_features = aggregator.out_features
        self.encoded_shape = encoders[-1].out_shape

    @property
    def whole_numbers(self) -> tuple[torch.dtype, ...] | None:
        """Dtypes of whole numbers that its first encoder takes; None where it does not say."""
        first = self.encoders[0]
        assert isinstance(first, Encoder)
        return first.whole_numbers

    @property
    def element_encoders(self) -> int:
        """The number of encoders, from the first of the chain on, that take every element by itself."""
        return sum(1 for _ in takewhile(lambda encoder: isinstance(encoder, ElementEncoder), self.encoders))

    def forward(self, elements: Jagged) -> tuple[Tensor, Tensor | None, Jagged]:
        """Returns what `summarise` returns, and the encoded sequences."""
        sequence = self.encode(elements)
        return (*self.summarise(sequence), sequence)

    def summarise(self, sequence: Jagged) -> tuple[Tensor, Tensor | None]:
        """Returns the features ``(batch, out_features)`` of encoded sequences, and the factors of their dropout.

        Features are zero where absent. The factors by which heads and fusion are to read them, 0 or 1 / (1 - d), stand
        beside them, so that who compares features compares whole ones; None where nothing is dropped. They are 1 where
        absent: what may stand in for a sample is not dropped.
        """
        rows = [index for index, size in enumerate(sequence.sizes) if size]
        # By far the most frequent case, in which nothing has to be chosen, or waited for.
        if rows and len(rows) == len(sequence):
            features: Tensor = self.norm(self.aggregator(sequence))
            return features, self._draw_dropout(features)
        if not rows:
            # where several processes share a batch, each takes part in the statistics that the others need
            nothing = self.norm.weight.new_zeros(0, self.out_features)
            shared = self.training and world_size() > 1
            return _spread(self.norm(nothing) if shared else nothing, rows, len(sequence)), None
        # Empty samples hold no elements, so those of the others are theirs already.
        features = self.norm(self.aggregator(Jagged.from_sizes(sequence.values, [sequence.sizes[row] for row in rows])))
        factors = self._draw_dropout(features)
        if factors is not None:
            ones = factors.new_ones(len(sequence), self.out_features)
            factors = ones.index_copy(0, make_indices(rows, factors.device), factors)
        return _spread(features, rows, len(sequence)), factors

    def _draw_dropout(self, features: Tensor) -> Tensor | None:
        if not (self.dropout.training and self.dropout.p):
            return None
        wide = torch.promote_types(features.dtype, torch.float32)  # half precision rounds 1 / (1 - d)
        factors: Tensor = self.dropout(torch.ones_like(features, dtype=wide))
        return factors

    def score(self, features: Float[Tensor, "batch out_features"], sizes: Sequence[int]) -> dict[str, Tensor]:
        """Returns the uni-modal scores by target, zero where absent; absent samples enter no statistic of a head."""
        rows = [index for index, size in enumerate(sizes) if size]
        if len(rows) < len(sizes):
            features = features[make_indices(rows, features.device)]
        if not rows and not (self.training and world_size() > 1):
            heads = {target: head for target, head in self.heads.items() if isinstance(head, LossHead)}
            return {target: features.new_zeros(len(sizes), head.out_features) for target, head in heads.items()}
        return {target: _spread(head(features), rows, len(sizes)) for target, head in self.heads.items()}

    def encode(self, elements: Jagged, *, start: int = 0, stop: int | None = None) -> Jagged:
        """Encodes the sequences, by the whole chain or by a part of it.

        Args:
            elements: Elements of the modality, or the output of the first `start` encoders.
            start: The encoder to begin with.
            stop: The encoder to stop before; None goes to the end of the chain.
        """
        chain = list(islice(self.encoders, start, stop))
        # Nothing is kept for a backward pass, so a long clip may go through the chain part by part.
        if elements.total and not self.training and not torch.is_grad_enabled():
            one_for_one = all(isinstance(encoder, ElementEncoder) for encoder in chain)
            elements = _gather(_encode_in_pieces(chain, elements, self.chunk), elements.total if one_for_one else None)
        else:
            for encoder in chain:
                if elements.total == 0:
                    break
                with _explain_elements(encoder, elements):
                    elements = encoder(elements)
        if elements.total == 0:
            self._refuse_to_leave_others_waiting()
            return Jagged.empty(len(elements), self.encoded_shape, like=self.norm.weight)
        return elements

    def fit_encoders(self, passes: Passes) -> None:
        """Lets the encoders that learn from the training part do so, each from what those before it give.

        `fusionkit.train` does it once, before the first step; a loop of your own does the same.

        Args:
            passes: Starts a pass over the modality's elements of all training samples and of no others.
        """
        for place, encoder in enumerate(self.encoders):
            if isinstance(encoder, Fitted):
                encoder.fit(partial(self._encode_pass, passes, place))

    @torch.no_grad()
    def _encode_pass(self, passes: Passes, stop: int) -> Iterator[Jagged]:
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            for elements in passes():
                yield self.encode(elements, stop=stop)
        finally:
            for module, mode in modes.items():
                module.training = mode

    def _refuse_to_leave_others_waiting(self) -> None:
        shared = self.training and world_size() > 1
        if shared and any(isinstance(module, FeatureNorm) for module in self.encoders.modules()):
            raise TrainingError(
                "a whole batch of one process lacks a modality, and the other processes would wait for the batch "
                "statistics of its encoder; use larger batches, or norm: layer in that encoder"
            )


def apply_dropout(features: Mapping[str, Tensor], dropout: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the features as heads and fusion read them: times the factors of their dropout, where there are any."""
    return {
        name: (values * dropout[name]).to(values.dtype) if name in dropout else values
        for name, values in features.items()
    }


@contextmanager
def name_modality(name: str) -> Iterator[None]:
    """Names the modality in errors of elements that an encoder cannot take."""
    try:
        yield
    except ElementError as error:
        raise ElementError(error.message, error.value, name) from error.__cause__
    except ShapeError as error:
        raise ShapeError(f"{name}: {error}") from error.__cause__


@contextmanager
def _explain_elements(encoder: nn.Module, elements: Jagged) -> Iterator[None]:
    """Explains the failure of an encoder that is given numbers of another kind, and says what would be right.

    Whatever else it raises passes, with the encoder in its notes: it may be the user's own, and have a fault.
    """
    try:
        yield
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, FusionKitError) or is_full(error):
            raise
        name = type(encoder).__name__
        if elements.dtype.is_floating_point:
            asked = "types: Long, Int" in str(error)  # what PyTorch's embedding says
            if asked or (isinstance(encoder, Encoder) and takes_whole_numbers_only(encoder, elements.element_shape)):
                remedy = "place it first in its chain, for columns or files of whole numbers"
                raise ShapeError(f"{name} takes whole numbers only, given {elements.dtype}; {remedy}") from error
        elif isinstance(error, IndexError):
            raise _make_range_error(name, elements, error) from error
        elif "device-side assert" in str(error):
            remedy = "train on a CPU to see which"
            raise ShapeError(f"{name} was given a whole number beyond its table; {remedy}") from error
        elif isinstance(encoder, Encoder) and encoder.whole_numbers is None:
            message = f"{name} was given whole numbers ({elements.dtype}) and failed: {error}"
            remedy = (
                "if it takes none, say whole_numbers = () in its class: then a training gives it numbers of float32"
            )
            raise ShapeError(f"{message}; {remedy}") from error
        error.add_note(f"raised by the encoder {name} of elements {elements.dtype} of shape {elements.element_shape}")
        raise


def _make_range_error(encoder: str, elements: Jagged, error: IndexError) -> ElementError:
    low, high = int(elements.values.min()), int(elements.values.max())
    extent = f"whole numbers from {low} to {high}"
    remedy = "give it a table of so many rows, or mend the numbers"
    return ElementError(f"{encoder} was given {extent} and failed: {error}; {remedy}", low if low < 0 else high)


def _encode_in_pieces(encoders: Iterable[nn.Module], elements: Jagged, most: int | None) -> Iterable[Jagged]:
    """Encodes a batch by a chain, piece by piece; before an encoder that sees neighbours, all pieces are gathered."""
    pieces: Iterable[Jagged] = (elements,)
    for encoder in encoders:
        assert isinstance(encoder, Encoder)
        pieces = _encode_each(encoder, pieces if isinstance(encoder, ElementEncoder) else (_gather(pieces),), most)
    return pieces


def _encode_each(encoder: Encoder, pieces: Iterable[Jagged], most: int | None) -> Iterator[Jagged]:
    for piece in pieces:
        if piece.total == 0:
            yield piece
        else:
            with _explain_elements(encoder, piece):
                yield from encoder.encode_pieces(piece, most)


def _gather(pieces: Iterable[Jagged], total: int | None = None) -> Jagged:
    """Gathers pieces of a batch, one after another, as one; of a known total each is put in its place and let go."""
    parts: list[Tensor] = []
    counts: list[tuple[int, ...]] = []
    whole, end = None, 0
    for piece in pieces:
        if total is None or (not counts and piece.total == total):
            parts.append(piece.values)
        else:
            # Pieces that were kept to be joined at the end would take the memory of the whole twice.
            whole = piece.values.new_empty(total, *piece.element_shape) if whole is None else whole
            whole[end : end + piece.total] = piece.values
        counts.append(piece.sizes)
        end += piece.total
    if whole is None:
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return Jagged.from_sizes(whole, [sum(of_sample) for of_sample in zip(*counts, strict=True)])


def _spread(rows: Tensor, where: Sequence[int], batch: int) -> Tensor:
    """Spreads rows to their places in a batch that is zero elsewhere."""
    if len(where) == batch:
        return rows
    return rows.new_zeros(batch, rows.shape[1]).index_copy(0, make_indices(where, rows.device), rows)
