"""The figures in the sentences of "Which fusion should I use?", computed from the comparisons that were measured.

The page names them in double braces, `{{ joint_real_high }}`; Sphinx puts the values there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from literature import BARS, Results, literature_results

TAUGHT, TAUGHT_MRPN = "umt with heads + concat", "umt with heads + mrpn"


def figures_of_page(folder: Path) -> dict[str, str]:
    """Returns every figure of the page by its name, as text.

    Args:
        folder: Where the results lie, `benchmarks/results`.
    """
    sets = literature_results(folder)
    diagnosis = json.loads((folder / "diagnosis_action_units.json").read_text(encoding="utf-8"))
    return {
        **_of_all_sets({name: of for name, of in sets.items() if name not in BARS}),
        **_of_ten_folds(sets["bar"], sets["bar_longer"]),
        **_of_gradients(diagnosis),
    }


def points(sets: Mapping[str, Results], method: str, other: str) -> list[float]:
    """Returns how many points of accuracy a method is above another, from the lowest set to the highest."""
    means = [of["summary"] for of in sets.values()]
    return sorted(round(100 * (of[method]["mean"] - of[other]["mean"]), 1) for of in means)


def _of_all_sets(sets: Mapping[str, Results]) -> dict[str, str]:
    synthetic = {name: of for name, of in sets.items() if "best" in of}
    real = {name: of for name, of in sets.items() if name not in synthetic}
    fuzzy = {name: of for name, of in synthetic.items() if "fuzziness" in name}
    clear = {name: of for name, of in synthetic.items() if name not in fuzzy}
    default, alone = points(sets, "mrpn", "concat"), points(sets, "N0", "concat")
    joint_real, joint_clear = points(real, "concat", "ensemble"), points(clear, "concat", "ensemble")
    taught_synthetic, bilinear = points(synthetic, TAUGHT, "concat"), points(sets, "residual bilinear", "bilinear")
    faces = {"": sets["faces_and_voices"]}
    by_fold = sorted(sets["faces_and_voices"]["summary"][TAUGHT_MRPN]["by_fold"].values())
    ahead = max(points({"": of}, method, "concat")[0] for of in synthetic.values() for method in of["summary"])
    found = {
        "concat_behind_at_most": ahead,
        "mrpn_below": -default[0],
        "mrpn_above": default[-1],
        "joint_real_high": joint_real[-1],
        "joint_real_low": -joint_real[0],
        "joint_clear_low": joint_clear[0],
        "joint_clear_high": joint_clear[-1],
        "joint_fuzzy": max(map(abs, points(fuzzy, "concat", "ensemble"))),
        "n0_worse_low": -alone[-1],
        "n0_worse_high": -alone[0],
        "taught_real_low": points(real, TAUGHT, "concat")[0],
        "taught_real_high": points(real, TAUGHT, "concat")[-1],
        "taught_mrpn_low": points(real, TAUGHT_MRPN, "mrpn")[0],
        "taught_mrpn_high": points(real, TAUGHT_MRPN, "mrpn")[-1],
        "taught_synthetic_below": -taught_synthetic[0],
        "taught_synthetic_above": taught_synthetic[-1],
        "bilinear_ahead_low": bilinear[0],
        "bilinear_ahead_high": bilinear[-1],
        "faces_best_above": points(faces, TAUGHT_MRPN, "ensemble")[0],
        "faces_taught_below": -points(faces, TAUGHT, "ensemble")[0],
        "faces_taught_above_concat": points(faces, TAUGHT, "concat")[0],
    }
    return {name: f"{value:.1f}" for name, value in found.items()} | {
        "faces_between_folds": f"{100 * (by_fold[1] - by_fold[0]):.0f}"
    }


def _of_ten_folds(bar: Results, longer: Results) -> dict[str, str]:
    against = {pair["column"]: pair for pair in bar["comparison"]["against_first"]}
    (sure,) = [pair for pair in bar["comparison"]["pairs"] if pair["holm_p"] < 0.05]
    taught, others = against[TAUGHT], [pair for name, pair in against.items() if name != TAUGHT]
    long = {pair["column"]: pair for pair in longer["comparison"]["against_first"]}
    gains = {name: f"{100 * pair['difference'] + 1e-9:.1f}" for name, pair in against.items()}
    single, allowed = ([pair[key] for pair in others] for key in ("p", "holm_p"))
    return {
        "ten_taught": gains[TAUGHT],
        "ten_taught_from": f"{100 * taught['low']:.1f}",
        "ten_taught_to": f"{100 * taught['high']:.1f}",
        "ten_taught_p": f"{taught['holm_p']:.3f}",
        "ten_taught_p_of_pairs": f"{sure['holm_p']:.2f}",
        "ten_n0": gains["N0"],
        "ten_n1": gains["N1"],
        "ten_single_low": f"{min(single):.2f}",
        "ten_single_high": f"{max(single):.2f}",
        "ten_allowed_low": f"{min(allowed):.2f}",
        "ten_allowed_high": f"{max(allowed):.2f}",
        "ten_taught_above_n1": f"{points({'': bar}, TAUGHT, 'N1')[0]:.1f}",
        "ten_taught_above_n0": f"{points({'': bar}, TAUGHT, 'N0')[0]:.1f}",
        "long_n1": f"{100 * longer['summary']['N1']['mean']:.1f}",
        "short_taught": f"{100 * bar['summary'][TAUGHT]['mean']:.1f}",
        "long_taught": f"{100 * longer['summary'][TAUGHT]['mean']:.1f}",
        "long_taught_gain": f"{100 * long[TAUGHT]['difference']:.1f}",
        "long_n1_gain": f"{100 * long['N1']['difference']:.1f}",
        "long_taught_p": f"{long[TAUGHT]['p']:.2f}",
        "long_n1_p": f"{long['N1']['p']:.2f}",
        "long_allowed_p": f"{long['N1']['holm_p']:.1f}",
    }


def _of_gradients(diagnosis: Results) -> dict[str, str]:
    joint = {name: of for name, of in diagnosis["variants"].items() if of["gradients"]}
    found = [each for of in joint.values() for each in of["gradients"].values()]
    cosines = sorted(each["cosine"]["value"] for each in found)
    negative = sorted(each["negative"]["value"] for each in found)
    probe = next(iter(joint["N0"]["targets"].values()))["probe"]["audio"]
    here, alone = probe["score"]["value"], probe["alone_probe"]["value"]
    return {
        "cosine_low": f"{cosines[0]:.2f}",
        "cosine_high": f"{cosines[-1]:.2f}",
        "negative_low": f"{100 * negative[0]:.0f}",
        "negative_high": f"{100 * negative[-1]:.0f}",
        "n0_voice": f"{100 * here:.0f}",
        "alone_voice": f"{100 * alone:.0f}",
        "n0_voice_loss": f"{100 * (alone - here):.0f}",
    }
