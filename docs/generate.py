"""Writes the pages that come from code and measurements: a page per registry, and the tables of results."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from coverage import calibration_lines
from literature import comparison_lines, diagnosis_lines, peers_lines, write_literature
from pydantic import BaseModel
from speed import write_speed

from fusionkit.config.components.registry import REGISTRIES, Component
from fusionkit.config.schema import DataSpec, ModalitySpec, ModelSpec, Recipe, TrainSpec
from fusionkit.experiments.specs.comparison import BudgetSpec, RangeSpec, TuningSpec
from fusionkit.experiments.specs.experiment import ExperimentSpec, VariantSpec
from fusionkit.experiments.specs.published import ReferenceSpec, SourceSpec
from fusionkit.interfaces import Metric
from fusionkit.models.encoders.pretrained.checkpoints import CHECKPOINTS
from fusionkit.report.figures.folds import draw_folds
from fusionkit.report.figures.style import save_figure
from fusionkit.report.text.tables import SHARE, format_p, format_value, markdown
from fusionkit.storage.records.document import load_document
from fusionkit.storage.records.results import Difference, Results


def write_pages(docs: Path) -> None:
    """Writes a page per kind with its components, the keys of recipes and experiments, and the tables of results."""
    folder = docs / "reference" / "generated"
    for kind, registry in REGISTRIES.items():
        parts = [f"# {kind.replace('_', ' ').capitalize()}\n", (inspect.getdoc(registry.interface) or "") + "\n"]
        parts += [_component(component) for component in registry]
        _write(folder / f"{kind}.md", "\n".join(parts))
    _write(folder / "checkpoints.md", _checkpoints())
    places = {
        "": Recipe,
        "data": DataSpec,
        "model": ModelSpec,
        "model.modalities.NAME": ModalitySpec,
        "train": TrainSpec,
    }
    _write(folder / "recipe_keys.md", "\n".join(_keys(place, record) for place, record in places.items()))
    places = {
        "": ExperimentSpec,
        "variants.NAME": VariantSpec,
        "paper": ReferenceSpec,
        "paper.also": SourceSpec,
    }
    _write(folder / "experiment_keys.md", "\n".join(_keys(place, record) for place, record in places.items()))
    places = {"budget": BudgetSpec, "tuning": TuningSpec, "tuning.search.KEY": RangeSpec}
    _write(folder / "comparison_keys.md", "\n".join(_keys(place, record) for place, record in places.items()))
    results = docs.parent / "benchmarks" / "results"
    generated = docs / "results" / "generated"
    generated.mkdir(parents=True, exist_ok=True)  # figures are saved into it before any page is written
    own_pages = ("speed_", "timeline", "export")  # which say what they measured
    files = [path for path in sorted(results.glob("*.json")) if not path.name.startswith(own_pages)]
    tables = [_section(path, generated) for path in files]
    _write(generated / "tables.md", "\n".join(tables))
    write_literature(results, generated)
    write_speed(results, generated)
    if (prepared := results / "prepare.json").is_file():
        _write(generated / "preparation_speed.md", _preparation_speed(json.loads(prepared.read_text(encoding="utf-8"))))


def _checkpoints() -> str:
    lines = ["| model | encoder | parameters | vector | licence | is given | for |"]
    lines.append("| --- | --- | ---: | ---: | --- | --- | --- |")
    for each in CHECKPOINTS:
        size, width = f"{each.millions:g} M", str(each.features)
        cells = (f"`{each.model}`", f"`{each.encoder}`", size, width, each.licence, each.given, each.purpose)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


README_RESULTS = ("ravdess_action_units_actor_pairs", "faces_and_voices", "basic_motions")


def summary_table(folder: Path) -> str:
    """Writes the README's table: every variant on real data, and in how many folds a single modality is better."""
    lines = [
        "| data and folds | variant | accuracy, % | 95 % interval | a single modality is better |",
        "| --- | --- | ---: | --- | ---: |",
    ]
    for path in (folder / f"{name}.json" for name in README_RESULTS):
        results = load_document(Results, path)
        counts = [
            f"{len(of)} {what}{'s' if len(of) > 1 else ''}"
            for what, of in (("fold", results.folds), ("seed", results.seeds))
        ]
        title = ", ".join([path.stem.replace("_", " "), *counts])
        for name, column in results.summary.items():
            figures = (column.mean, column.low, column.high)
            mean, low, high = (format_value(each, results.main_metric) for each in figures)
            interval = "-" if column.low is None else f"{low} to {high}"
            better = "-" if column.inferior is None else f"in {len(column.inferior)} of {column.compared_folds}"
            lines.append(f"| {title} | {name} | {mean} | {interval} | {better} |")
            title = ""
    return "\n".join(lines) + "\n"


def _section(path: Path, generated: Path) -> str:
    """What a result file says, by its kind: an experiment, where it states none."""
    results = json.loads(path.read_text(encoding="utf-8"))
    lines = [f"## {path.stem.replace('_', ' ')}\n"]
    lines += [
        f"`{results['command']}`, {results['device']}, {results['platform']}, torch {results['versions']['torch']},"
    ]
    lines += [f"commit {results['commit'][:10]}, {results['time'][:10]}.\n"]
    kinds = {
        "experiment": _experiment,
        "training": _training,
        "preparation": _preparation,
        "demonstration": _demonstration,
        "comparison": comparison_lines,
        "diagnosis": diagnosis_lines,
        "peers": peers_lines,
        "scaling": _scaling,
        "calibration": calibration_lines,
        "fuzz": _fuzz,
        "serving": _serving,
        "differences": _differences,
        "prediction": _prediction,
    }
    return "\n".join(lines + kinds[results.get("kind", "experiment")](results, path.stem, generated)) + "\n"


def _training(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """The table of a single training that is reported on several sets."""
    level = f"{results['intervals']['level']:.0%} interval ({results['intervals']['method']})"
    lines = [
        f"| set | samples | accuracy | {level} | mean recall | accuracy without twins | samples |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for test, of in results["tests"].items():
        value, low, high = (format_value(of["accuracy"][key], SHARE) for key in ("value", "low", "high"))
        alone = of["without_twins"]
        figures = [value, f"{low} to {high}", format_value(of["uar"], SHARE)]
        figures += [format_value(alone["accuracy"]["value"], SHARE), str(alone["samples"])]
        lines.append(f"| {test} | {of['samples']} | {' | '.join(figures)} |")
    minutes = results["wall_seconds"] / 60
    lines += [f"\nTwins are {results['twins']}. {len(results['epochs'])} epochs in {minutes:.0f} minutes.\n"]
    return lines


def _preparation_speed(results: dict[str, Any]) -> str:
    """How fast films are prepared, in short."""
    level = f"{results['intervals']['level']:.0%} interval"
    lines = [f"| films | share of the rate of decoding | {level} | of cutting and scaling alone |"]
    lines += ["| --- | ---: | --- | ---: |"]
    for row in results["against_decoding"]:
        share, alone = row["share_of_rate"]["decoding"], row["share_with_scaling_alone"]["median"]
        lines.append(f"| {row['films']} | {share['median']:.2f} | {_range(share)} | {alone:.2f} |")
    scaling = results["scaling"]
    gain, start = scaling["speed_up_without_start_up"]["median"], scaling["start_up"]["2"]
    lines += [f"\nTwo processes prepare {gain:.2f} times as much as one, once they run;"]
    lines += [f"starting them takes {start:.1f} s."]
    return "\n".join(lines) + "\n"


def _preparation(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """The tables of preparation beside bare decoding, and with several processes."""
    level = f"{results['intervals']['level']:.0%} interval"
    lines = [
        f"| films | frames/s decoded | prepared | share of the rate | {level} | with scaling alone | noise |",
        "| --- | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    for row in results["against_decoding"]:
        rates = [f"{row['frames_per_second'][key]:.0f}" for key in ("decoding", "preparation")]
        share, noise = row["share_of_rate"], row["noise"]
        figures = [*rates, f"{share['decoding']['median']:.2f}", _range(share["decoding"])]
        figures += [f"{row['share_with_scaling_alone']['median']:.2f}", _range(noise)]
        lines.append(f"| {row['films']} | {' | '.join(figures)} |")
    scaling, load = results["scaling"], results["load"]
    lines += [
        "\nThe rate is that of decoding picture and sound; noise is that decoding against itself in the same round."
    ]
    lines += [
        f"{scaling['films']}:\n",
        "| processes | seconds | of them start-up, timed alone |",
        "| ---: | ---: | ---: |",
    ]
    lines += [f"| {n} | {seconds:.1f} | {scaling['start_up'][n]:.1f} |" for n, seconds in scaling["seconds"].items()]
    gains = [
        f"{scaling[key]['median']:.2f} ({_range(scaling[key])})" for key in ("speed_up", "speed_up_without_start_up")
    ]
    lines += [f"\nTwo processes are {gains[0]} times as fast as one, {gains[1]} without their start-up.\n"]
    lines += [f"\nLoad {load['before']:.1f} to {load['after']:.1f} on {results['processors']} processors.\n"]
    return lines


def _demonstration(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """What the demonstration took."""
    load = f"load {results['load']['before']:.1f} to {results['load']['after']:.1f}"
    return [
        f"{results['films']} films and {results['runs']} runs in {results['wall_seconds']:.0f} s by the clock and "
        f"{results['processor_seconds']:.0f} s of {results['processors']} processors, {load}.\n"
    ]


def _scaling(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """The table of a target of numbers beside classes, learned in its own unit and scaled."""
    lines = ["| the target of 0 to 80 mm | accuracy of the classes, % | mean absolute error, mm |"]
    lines += ["| --- | ---: | ---: |"]
    for variant, of in results["variants"].items():
        lines.append(f"| {variant} | {format_value(of['accuracy'], SHARE)} | {of['mae']:.1f} |")
    return [*lines, f"\nMeans over {len(results['folds'])} folds; the constant looks at no sample.\n"]


def _fuzz(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """How many damaged files, drawn recipes and words were tried, by the file of their tests."""
    lines = ["| tests | kinds | cases | refused | longest, s |", "| --- | ---: | ---: | ---: | ---: |"]
    for file in dict.fromkeys(test["file"] for test in results["tests"]):
        of = [test for test in results["tests"] if test["file"] == file]
        tried, refused = (sum(test[key] for test in of) for key in ("tried", "refused"))
        longest = max(test["longest"] for test in of)
        lines.append(f"| `{file}` | {len(of)} | {tried:,} | {refused:,} | {longest:.1f} |")
    return [*lines, f"\nSeed {results['seed']}. Every other case was read.\n"]


def _serving(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """The throughput of a server beside direct calls with the same batches, by the number of its clients."""
    columns = ("clients", "samples of a batch", "requests a second", "of direct calls", "of their processor time")
    heads = (*columns, "p50, ms", "p99, ms")
    lines = [f"| {' | '.join(heads)} |", f"|{' ---: |' * len(heads)}"]
    for clients, of in results["throughput"]["clients"].items():
        figures = [f"{of['batch']:.1f}", f"{of['requests_per_second']:.0f}", f"{of['ratio']:.2f}"]
        figures += [f"{of['processor_ratio']:.2f}", f"{of['p50_ms']:.0f}", f"{of['p99_ms']:.0f}"]
        lines.append(f"| {clients} | {' | '.join(figures)} |")
    growth = f"{100 * (results['memory']['growth'] - 1):.2f} %"
    return [*lines, f"\nMemory grew by {growth} over {results['memory']['requests']:,} requests.\n"]


def _prediction(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """The time of `predict` beside that of the bare network, and of the command from its start."""
    heads = ("network and samples", "samples", "bare, s", "`predict` / bare", "processors / bare", "command, s")
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for row, of in results["rows"].items():
        ratios = [of[key] for key in ("predict_over_bare", "processors_over_bare")]
        shown = [f"{each['median']:.2f} ({each['quartiles'][0]:.2f} to {each['quartiles'][1]:.2f})" for each in ratios]
        seconds = [f"{of[key]['median']:.2f}" for key in ("bare_seconds", "command_seconds")]
        lines.append(f"| {row} | {of['samples']} | {seconds[0]} | {' | '.join(shown)} | {seconds[1]} |")
    alone, load = results["import_torch_seconds"]["median"], results["load_average"]
    said = f"Medians and quartiles on {results['processors']} processors; load {load[0]:.1f} to {load[1]:.1f}."
    return [*lines, f"\n{said} `import torch` alone takes {alone:.2f} s of the command.\n"]


def _differences(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """The largest difference of every way to use a network from its evaluation."""
    networks = results["networks"]
    ways = list(dict.fromkeys(way for of in networks.values() for way in of["differences"]))
    lines = [f"| way | {' | '.join(networks)} |", f"| --- |{' ---: |' * len(networks)}"]
    for way in ways:
        found = [of["differences"].get(way) for of in networks.values()]
        lines.append(f"| {way} | {' | '.join('-' if each is None else f'{each:.0e}' for each in found)} |")
    return [*lines, ""]


def _range(interval: dict[str, float]) -> str:
    return f"{interval['low']:.2f} to {interval['high']:.2f}"


def _experiment(results: dict[str, Any], name: str, generated: Path) -> list[str]:
    """An experiment's table and figure, and every comparison of two columns."""
    record = Results.model_validate(results)
    lines = [markdown(record)]
    if len(record.folds) < 2:
        return lines  # one fold: there is nothing to pair
    save_figure(draw_folds(record), generated / f"{name}.png")
    lines += [f"![Accuracy of every fold and variant](../results/generated/{name}.png)\n"]
    lines += ["Every difference, column minus the one it is compared with, paired over folds:\n"]
    lines += [
        "| | against | difference | 95 % interval | p Wilcoxon | p corrected |",
        "| --- | --- | ---: | --- | ---: | ---: |",
    ]
    for column, of in record.summary.items():
        for other, comparison in of.against.items():
            if comparison is not None:
                lines.append(f"| {column} | {other} | {_comparison(comparison, record.main_metric)} |")
    return lines


def _comparison(comparison: Difference, metric: Metric) -> str:
    gain = comparison.difference
    mean, low, high = (format_value(each, metric, signed=True) for each in (gain.mean, gain.low, gain.high))
    tests = map(format_p, (comparison.wilcoxon_p, comparison.corrected_t_p))
    return " | ".join([mean, f"{low} to {high}", *tests])


def _keys(place: str, record: type[BaseModel]) -> str:
    lines = [f"## `{place}`\n" if place else "## Top level\n", f"{inspect.getdoc(record)}\n"]
    lines += ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, field in record.model_fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.default)}`"
        lines.append(
            f"| `{field.alias or name}` | {default} | {field.description or inspect.getdoc(field.annotation)} |"
        )
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    """A default as a recipe would write it: a component by its name."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, BaseModel):
        return getattr(value, "type", "the defaults below")
    return {None: "null", True: "true", False: "false"}.get(value, value) if isinstance(value, bool | None) else value


def _component(component: Component[Any]) -> str:
    cls = component.cls
    lines = [f"## {component.name}\n", "```{eval-rst}", f".. autoclass:: {cls.__module__}.{cls.__qualname__}"]
    lines += ["   :no-index:", "```\n"]
    options = component.options.model_json_schema().get("properties", {})
    if options:
        lines += ["| option | type and bounds | default |", "| --- | --- | --- |"]
        required = component.options.model_json_schema().get("required", [])
        for name, schema in options.items():
            default = "required" if name in required else f"`{schema.get('default')!r}`"
            lines.append(f"| `{name}` | {_type(schema)} | {default} |")
    return "\n".join(lines) + "\n"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return " ".join([schema.get("type", schema.get("$ref", "any").rsplit("/", 1)[-1]), ", ".join(bounds)]).strip()


def _write(path: Path, text: str) -> None:
    """Leaves an unchanged file alone, so that a rebuild reads only what is new."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
