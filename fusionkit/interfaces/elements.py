"""The contract of encoders that take every element by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

from fusionkit.interfaces.network import Encoder, count_at_once
from fusionkit.nn.activation_checkpointing import count_statistics_once, recompute
from fusionkit.nn.jagged import Jagged


class ElementEncoder(Encoder):
    """An encoder that takes every element by itself: as many vectors or images as it is given.

    A subclass says how a tensor of elements becomes one of as many encoded elements; lengths play no part in it, save
    through statistics of a batch in training. So the model can hand it a long clip in pieces, compile it for any
    number of elements at once, and compute its activations again instead of keeping them.
    """

    _compiled: Callable[[Tensor], Tensor] | None = None
    _recomputes = False

    @abstractmethod
    def encode(self, values: Tensor) -> Tensor:
        """Encodes elements: ``(total, *in_shape)`` to ``(total, *out_shape)``."""

    def forward(self, elements: Jagged) -> Jagged:
        """Encodes the elements of every sample, one for one."""
        values = elements.values
        if self._compiled is not None:
            torch._dynamo.maybe_mark_dynamic(values, 0)
            torch._dynamo.mark_static(values, list(range(1, values.ndim)))
            return elements.with_values(self._compiled(values))
        return elements.with_values(recompute(self.encode, values) if self._recomputes else self.encode(values))

    def encode_pieces(self, elements: Jagged, most: int | None) -> Iterator[Jagged]:
        """Yields the encoded elements, at most so many at a time."""
        most = count_at_once(elements.element_shape) if most is None else most
        if elements.total <= most:
            yield self(elements)
            return
        for start in range(0, elements.total, most):
            stop = min(start + most, elements.total)
            sizes, offset = [], 0
            for size in elements.sizes:
                sizes.append(max(0, min(stop, offset + size) - max(start, offset)))
                offset += size
            yield self(Jagged.from_sizes(elements.values[start:stop], sizes))

    def compile_elements(self) -> None:
        """Compiles `encode` for any number of elements; the first call of each mode takes its time.

        What torch compiles it keeps by a function's code, which all encoders of a class share: a network of several
        would exhaust the number of graphs that one code may have, and then go on without them. So each has its own.
        """
        plain = type(self).encode
        code = plain.__code__.replace(co_name=f"{plain.__name__}_{id(self)}")
        own = FunctionType(code, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
        own.__kwdefaults__ = plain.__kwdefaults__
        self._compiled = torch.compile(MethodType(own, self))

    def recompute_activations(self) -> None:
        """Keeps nothing but its input for the backward pass from now on, which computes the rest again.

        An encoder that can keep the inputs of its stages instead, which costs less memory, overrides it.
        """
        count_statistics_once(self)
        self._recomputes = True

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what is compiled: in a copy it would go on with the weights of the original."""
        return {key: value for key, value in super().__getstate__().items() if key != "_compiled"}  # type: ignore[no-untyped-call]


def takes_whole_numbers_only(encoder: Encoder, in_shape: tuple[int, ...]) -> torch.dtype | None:
    """Returns the dtype of the whole numbers that an encoder of nothing else takes, such as token ids; else None.

    No encoder has to say it, so it is found by an element of zeros, once as a number with a point and once whole.
    """
    if encoder.whole_numbers == ():
        return None
    weight = next(encoder.parameters(), torch.zeros(()))
    whole = encoder.whole_numbers[0] if encoder.whole_numbers else torch.int64
    if _encodes(encoder, weight.new_zeros(1, *in_shape)):
        return None
    zeros = torch.zeros(1, *in_shape, dtype=whole, device=weight.device)
    return whole if _encodes(encoder, zeros) else None


def _encodes(encoder: Encoder, element: Tensor) -> bool:
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        with torch.no_grad():
            encoder(Jagged.from_sizes(element, [1]))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError, TypeError, ValueError):  # what PyTorch raises of a dtype that it does not take
        return False
    finally:
        for module, mode in modes.items():
            module.training = mode
    return True
