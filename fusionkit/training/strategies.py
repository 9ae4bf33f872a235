"""The order in which the parts of a network learn."""

from __future__ import annotations

from fusionkit.config.components.registry import STRATEGIES
from fusionkit.errors import RecipeError, suggest_names
from fusionkit.interfaces import Stage, Strategy


@STRATEGIES.register("end_to_end")
class EndToEnd(Strategy):
    """Everything learns together, from the fused loss and, where there are uni-modal heads, from theirs.

    N0 is this without uni-modal heads, N1 with them, N2 (MRPN) with them and the fusion ``mrpn``.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 3.3, eqs. (7)-(9).

    Example:
        >>> [stage.trains for stage in EndToEnd(("audio", "video"), True).stages()]
        [('audio', 'video', 'fusion')]
    """

    def __init__(self, modalities: tuple[str, ...], unimodal_heads: bool) -> None:
        self.modalities, self.unimodal_heads = modalities, unimodal_heads

    def stages(self) -> tuple[Stage, ...]:
        """Returns one stage."""
        heads = self.modalities if self.unimodal_heads else ()
        return (Stage("joint", (*self.modalities, "fusion"), (*heads, "fused")),)


@STRATEGIES.register("unimodal")
class Unimodal(Strategy):
    """Each modality learns alone, one after another; there is no fused branch.

    The baselines AM and VM of the paper, and what the ensemble averages.

    Args:
        modality: Train this modality only; all of them, one stage each, when left out.

    Raises:
        RecipeError: The model has no uni-modal heads, or no such modality.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, Table 1 (AM, VM).

    Example:
        >>> [stage.name for stage in Unimodal(("audio", "video"), True).stages()]
        ['audio', 'video']
    """

    def __init__(self, modalities: tuple[str, ...], unimodal_heads: bool, *, modality: str | None = None) -> None:
        _need_heads("unimodal", unimodal_heads)
        if modality is not None and modality not in modalities:
            raise RecipeError(f"unimodal: no modality {modality!r}; {suggest_names(modality, modalities)}")
        self.modalities = modalities if modality is None else (modality,)

    def stages(self) -> tuple[Stage, ...]:
        """Returns one stage per modality."""
        return tuple(Stage(name, (name,), (name,)) for name in self.modalities)


@STRATEGIES.register("late_fusion")
class LateFusion(Strategy):
    """Each modality learns alone, with its own selected epoch; all are frozen, then the fusion learns.

    Frozen means weights and batch statistics. The separately trained uni-modal networks stay in the run, so it
    reports them and their ensemble beside the fusion.

    Raises:
        RecipeError: The model has no uni-modal heads.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 3.2.

    Example:
        >>> [stage.name for stage in LateFusion(("audio", "video"), True).stages()]
        ['audio', 'video', 'fusion']
    """

    def __init__(self, modalities: tuple[str, ...], unimodal_heads: bool) -> None:
        _need_heads("late_fusion", unimodal_heads)
        self.modalities = modalities

    def stages(self) -> tuple[Stage, ...]:
        """Returns one stage per modality, then the fusion."""
        alone = tuple(Stage(name, (name,), (name,)) for name in self.modalities)
        return (*alone, Stage("fusion", ("fusion",), ("fused",)))


def _need_heads(strategy: str, unimodal_heads: bool) -> None:
    if not unimodal_heads:
        raise RecipeError(f"{strategy}: uni-modal networks need their heads; set model.unimodal_heads: true")
