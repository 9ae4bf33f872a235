"""The figures that stand in sentences of the documentation, computed from what was measured.

A page names them in double braces, `{{ fuzz_tried }}`; Sphinx puts the values there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import which_fusion


def figures_of_pages(results: Path) -> dict[str, str]:
    """Returns every figure by its name, as text.

    Args:
        results: Where the results lie, `benchmarks/results`.
    """
    return {
        **which_fusion.figures_of_page(results),
        **_of_scaling(_read(results / "target_scaling.json")["variants"]),
        **_of_fuzz(_read(results / "fuzz.json")),
        **_of_export(_read(results / "export.json")),
        **_of_serving(_read(results / "serving.json")),
        **_of_prediction(_read(results / "predict.json")),
        **_of_speed(_read(results / "speed_cpu.json")["rows"]),
    }


def one(rows: Mapping[str, Any], name: str, words: str, key: str = "median") -> float:
    """Returns the one measurement of a row of the benchmark of speed whose description holds some words."""
    measured = (each["measured"] for each in rows[name]["measurements"] if words in each["what"])
    (value,) = (of.get(key, of.get("value")) for of in measured)
    return float(value)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _of_scaling(variants: Mapping[str, Any]) -> dict[str, str]:
    own, scaled, constant = (variants[name] for name in ("in its own unit", "scaled", "constant"))
    return {
        "scaling_own_mm": f"{own['mae']:.1f}",
        "scaling_constant_mm": f"{constant['mae']:.1f}",
        "scaling_own_classes": f"{100 * own['accuracy']:.0f}",
        "scaling_scaled_mm": f"{scaled['mae']:.1f}",
        "scaling_scaled_classes": f"{100 * scaled['accuracy']:.0f}",
    }


def _of_export(results: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "sound": "action units and sound",
        "films": "films and sound",
        "sensors": "sensors of 200 and 5 Hz, and a vector",
        "targets": "two targets, one of them scaled",
    }
    runtime, figures = results["runtime"], dict[str, str]()
    for short, name in names.items():
        network = results["networks"][name]
        figures[f"export_{short}_onnx"] = f"{1e6 * network['onnx']['relative']:.1f}"
        figures[f"export_{short}_torch"] = f"{1e6 * network['torch.export']['relative']:.1f}"
        figures |= {f"export_{short}_{size}": f"{network['speed'][size]['ratio']:.2f}" for size in ("1", "8")}
        if "int8" in network:
            rough = network["int8"]
            figures[f"export_int8_{short}_time"] = f"{rough['speed_ratio']:.1f}"
            figures[f"export_int8_{short}_size"] = f"{100 * rough['bytes_quantized'] / rough['bytes_exact']:.0f}"
    return {
        **figures,
        "export_megabytes": f"{runtime['megabytes']:.0f}",
        "export_import_seconds": f"{runtime['seconds']['import'] - runtime['seconds']['python']:.2f}",
        "export_torch_seconds": f"{runtime['seconds']['import torch'] - runtime['seconds']['python']:.2f}",
    }


def _of_fuzz(results: Mapping[str, Any]) -> dict[str, str]:
    return {
        "fuzz_minutes": f"{results['minutes']:g}",
        "fuzz_tried": f"{results['tried']:,}",
        "fuzz_kinds": str(len(results["tests"])),
        "fuzz_refused": f"{results['refused']:,}",
        "fuzz_longest": f"{results['longest']:.1f}",
    }


def _of_serving(results: Mapping[str, Any]) -> dict[str, str]:
    throughput, memory = results["throughput"], results["memory"]
    overheads = [_of_request(of) for of in throughput["clients"].values()]
    return {
        "serving_least_ms": f"{min(overheads):.1f}",
        "serving_most_ms": f"{max(overheads):.1f}",
        **{f"serving_{clients}": f"{of['ratio']:.2f}" for clients, of in throughput["clients"].items()},
        "serving_ms": f"{throughput['processor_ms_of_one_sample']:.1f}",
        "serving_load": f"{results['load_average']:.1f}",
        "serving_growth": f"{100 * (memory['growth'] - 1):.2f}",
        "serving_requests": f"{memory['requests']:,}",
    }


def _of_request(clients: Mapping[str, Any]) -> float:
    """Computes the milliseconds of the processor that a request takes beside the network."""
    return float(1000 / clients["direct_per_second"] * (1 / clients["processor_ratio"] - 1))


def _of_prediction(results: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "clips": "ResNet-18, prepared clips",
        "films": "ResNet-18, films",
        "sound": "action units and sound",
        "few": "sensors, 8 samples",
        "many": "sensors, 400 samples",
    }
    rows = results["rows"]
    return {
        **{f"predict_{short}": f"{rows[name]['predict_over_bare']['median']:.2f}" for short, name in names.items()},
        "predict_sound_samples": str(rows[names["sound"]]["samples"]),
        "predict_load": f"{results['load_average'][1]:.1f}",
        "predict_command": f"{rows[names['few']]['command_seconds']['median']:.1f}",
        "predict_torch": f"{results['import_torch_seconds']['median']:.1f}",
    }


def _of_speed(rows: Mapping[str, Any]) -> dict[str, str]:
    prepared = [each["measured"]["median"] for each in rows["R_prep"]["measurements"]]  # large, smaller; colour, grey
    limit = rows["R_prep"]["measurements"][0]["target"]["limit"]
    added = [each["measured"] for each in rows["R_loop"]["measurements"] if each["unit"] == "ms"]
    written = [each for each in rows["peers"]["measurements"] if "by hand" in each["what"]]
    by_hand = [each["measured"]["median"] for each in written if "memory" not in each["what"]]  # batches of 32, of 512
    found = {
        "speed_data_small": one(rows, "R_data", "films), 0"),
        "speed_data_resnet": one(rows, "R_data", "ResNet-18 in both branches, 0"),
        "speed_large_colour_over": prepared[0] - limit,
        "speed_smaller_colour_over": prepared[2] - limit,
        "speed_smaller_grey_over": prepared[3] - limit,
        "speed_by_hand_32": by_hand[0],
        "speed_by_hand_512": by_hand[1],
        "speed_loop_first": added[0]["median"],
        "speed_loop_second": added[1]["median"],
        "speed_bf16": one(rows, "O", "bf16-mixed"),
        "speed_lstm": one(rows, "O", "LSTM"),
        "speed_budget": one(rows, "O", "largest batch"),
        "speed_compiled": one(rows, "C", "compiled / not"),
        "speed_recompute_memory": one(rows, "O", "memory of the same two"),
        "speed_recompute_time": one(rows, "O", "time of recompute"),
        "speed_chunk_128": one(rows, "O", "chunk: 128"),
        "speed_chunk_32": one(rows, "O", "chunk: 32"),
        "speed_stream": one(rows, "O", "stream"),
    }
    return {name: f"{value:.2f}" for name, value in found.items()} | {
        "speed_loop_first_to": f"{added[0]['high']:.1f}",
        "speed_loop_second_to": f"{added[1]['high']:.1f}",
    }
