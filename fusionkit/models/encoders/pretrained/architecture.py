"""The architecture of a pretrained network as plain data: of files that others wrote, or of a run's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.models.encoders.pretrained.families import FAMILIES, TOWERS, Family, Signal, list_families
from fusionkit.models.encoders.pretrained.hub import Source, read_json

_PREPARATIONS: Mapping[Signal, tuple[str, ...]] = {
    "audio": ("preprocessor_config.json", "processor_config.json"),
    "vision": ("preprocessor_config.json", "processor_config.json"),
    "video": ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json"),
    "text": (),
}
"""By signal the files that say how an input is prepared; the first that is there is read."""

_PREPARED = (
    "crop_size",
    "do_center_crop",
    "do_normalize",
    "do_resize",
    "feature_size",
    "hop_length",
    "image_mean",
    "image_std",
    "max_length",
    "mean",
    "n_fft",
    "num_mel_bins",
    "resample",
    "sampling_rate",
    "size",
    "std",
)
"""The keys of those files that are kept."""

_LEFT_OUT = (
    "architectures",
    "attn_implementation",  # may name code of a hub
    "auto_map",  # the same
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "custom_pipelines",
    "dtype",
    "experts_implementation",
    "forced_decoder_ids",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "quantization_config",
    "return_dict",
    "suppress_tokens",
    "task_specific_params",
    "tie_word_embeddings",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_cache",
    "vocab_list",
)
"""The keys of a config that are not kept: labels, versions, the needs of other tasks, and names of code."""


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a pretrained network without its files.

    Args:
        family: The family of the network.
        config: Its config, as its authors wrote it but for what no encoder needs.
        preparation: How its input is prepared, as its authors wrote it.
    """

    family: Family
    config: Mapping[str, Any]
    preparation: Mapping[str, Any]

    def read_count(self, key: str, default: int, source: Source) -> int:
        """Reads a number of the preparation, which somebody else wrote.

        Raises:
            RecipeError: It is no positive whole number.
        """
        value = self.preparation.get(key, default)
        if not isinstance(value, int) or value <= 0:
            raise source.refuse(f"{source.model} states {key} {value!r}, which is no positive whole number")
        return value

    @property
    def plain(self) -> dict[str, Any]:
        """It as a recipe holds it."""
        return {"config": dict(self.config), "preparation": dict(self.preparation)}


def find_architecture(source: Source, signal: Signal, written: Mapping[str, Any] | None) -> Architecture:
    """Takes the architecture that a recipe holds, or reads that of the network that it names.

    Args:
        source: The network that the recipe names.
        signal: What the encoder is given.
        written: What the recipe holds, if it does.

    Raises:
        RecipeError: There is no such network, its files cannot be read, or it is of no family of this signal.
    """
    if written is not None:
        return _check(written, signal, source)
    config = read_json(source.require(("config.json",)), source)
    preparation: Any = {}
    for name in _PREPARATIONS[signal]:
        if path := source.find(name):
            preparation = read_json(path, source)
            break
    for part in ("feature_extractor", "image_processor", "video_processor"):
        if isinstance(preparation.get(part), dict):
            preparation = preparation[part]
    kept = {key: preparation[key] for key in _PREPARED if key in preparation}
    return _check({"config": config, "preparation": kept}, signal, source)


def complete_options(options: Mapping[str, Any], signal: Signal, encoder: str) -> dict[str, Any]:
    """Writes the architecture, and the commit of a name of the hub, into the options of an encoder.

    Raises:
        RecipeError: As for `find_architecture`.
    """
    completed = dict(options)
    if completed.get("architecture") is not None:
        return completed
    source = Source(encoder, completed["model"], completed["revision"])
    completed["architecture"] = find_architecture(source, signal, None).plain
    if source.folder is None:
        # A snapshot stands in a folder that is called after its commit.
        completed["revision"] = source.require(("config.json",)).parent.name
    return completed


def _check(written: Mapping[str, Any], signal: Signal, source: Source) -> Architecture:
    config, preparation = written.get("config"), written.get("preparation", {})
    if not isinstance(config, dict) or not isinstance(preparation, dict) or written.keys() - {"config", "preparation"}:
        message, remedy = "is none", "leave it out: a training writes it"
        raise RecipeError([Problem("architecture", message, remedy)], source=source.encoder)
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in TOWERS:
        kind = TOWERS[kind]
        config = config.get(FAMILIES[kind].part) or {}
    family = FAMILIES.get(str(kind))
    if family is None or family.signal != signal:
        raise source.refuse(_explain_family(kind, family, source), _advise(kind, family, signal))
    kept = {key: config[key] for key in sorted(config) if not (key.startswith("_") or key in _LEFT_OUT)}
    return Architecture(family, {**kept, "model_type": kind}, preparation)


def _explain_family(kind: object, family: Family | None, source: Source) -> str:
    if family is not None:
        return f"{source.model} is a network for {family.signal} ({kind})"
    return f"{source.model} is of the type {kind!r}" if kind else f"the config of {source.model} states no model_type"


def _advise(kind: object, family: Family | None, signal: Signal) -> str:
    if family is not None:
        return f"take hf_{family.signal}"
    return f"hf_{signal} knows {', '.join(list_families(signal))}" + (
        f" ({suggest_names(str(kind), list_families(signal))})" if kind else ""
    )
