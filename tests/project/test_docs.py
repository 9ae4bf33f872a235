"""What README and docs say is what was measured, and what they show is what is there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from repository_scripts import load_script

from fusionkit.config.recipe import load_recipe
from fusionkit.config.shipped_recipes import find_recipe

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))  # scripts of the documentation import each other
#: By kind of result, the command that trains, and what such a result must have.
COMMANDS = {
    "experiment": ("experiment", lambda results: results["summary"]),
    "training": ("train", lambda results: results["tests"]),
}
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def generate():
    return load_script("docs/generate")


def test_there_are_results():
    assert RESULTS


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_says_how_where_and_on_what_it_was_made(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["device"] == "cpu"
    if results.get("kind") == "speed":  # every row says it for itself
        assert all(re.fullmatch("[0-9a-f]{40}", row["made"]["commit"]) for row in results["rows"].values())
        assert all(row["made"]["command"].startswith("measure.py ") for row in results["rows"].values())
        return
    assert re.fullmatch("[0-9a-f]{40}( / [0-9a-f]{40})*", results["commit"])  # methods were added to a comparison
    assert not results["failures"]
    scripts = ("preparation", "demonstration", "diagnosis", "peers", "comparison", "scaling", "calibration", "fuzz")
    if results.get("kind") in (*scripts, "timeline", "export", "serving", "differences", "prediction"):
        assert (ROOT / results["command"].split()[1]).is_file()
        return
    verb, made = COMMANDS[results.get("kind", "experiment")]
    assert results["command"].startswith(f"fusionkit {verb} ")
    assert all(fold["split_hash"] for fold in results["folds"])
    assert find_recipe(results["command"].split()[2]).is_file()
    assert made(results)


def test_the_speed_of_preparation_is_that_of_its_rounds():
    results = json.loads((ROOT / "benchmarks" / "results" / "prepare.json").read_text(encoding="utf-8"))
    assert results["against_decoding"]
    for row in results["against_decoding"]:
        assert len(row["rounds"]) >= 5
        for share, decoded in (("decoding", "film"), ("decoding_picture", "picture")):
            halves = [(each[decoded] + each[f"{decoded}_again"]) / 2 / each["prepared"] for each in row["rounds"]]
            stated = row["share_of_rate"][share]
            assert stated["median"] == pytest.approx(sorted(halves)[len(halves) // 2])
            assert stated["low"] <= stated["median"] <= stated["high"]


def test_the_demonstration_takes_no_longer_than_is_said():
    results = json.loads((ROOT / "benchmarks" / "results" / "demonstration.json").read_text(encoding="utf-8"))
    assert (results["films"], results["runs"], results["processors"]) == (300, 12, 2)
    assert 60 < results["wall_seconds"] < 150
    assert results["page_bytes"] > 100_000
    for file in ("README.md", "Makefile", "fusionkit/cli/demo.py"):
        assert "about two minutes" in (ROOT / file).read_text(encoding="utf-8")


def test_nothing_promises_how_long_the_quickstart_s_comparison_takes_on_any_machine():
    for file in ("recipes/quickstart/comparison.yaml", "docs/how_to/compare.md", "README.md"):
        text = (ROOT / file).read_text(encoding="utf-8").replace("make demo     # about two minutes", "")
        assert not re.search(r"(two|2) minutes", text), file


def test_peers_agree_where_the_result_says_so_and_every_difference_is_told():
    results = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text(encoding="utf-8"))
    assert {peer["method"] for peer in results["peers"]} | set(results["absent"]) == {
        *("low_rank", "tensor", "gated", "ogm_ge")
    }
    for peer in results["peers"]:
        assert peer["numbers"] > 0
        assert peer["differs"]
        assert peer["agrees"] == (peer["max_abs_difference"] <= results["tolerance"] * max(1, peer["largest"]))
        assert peer["agrees"]


def test_what_is_said_of_scaling_a_target_was_measured_in_three_folds():
    results = json.loads((ROOT / "benchmarks" / "results" / "target_scaling.json").read_text(encoding="utf-8"))
    own, scaled, constant = (results["variants"][name] for name in ("in its own unit", "scaled", "constant"))
    assert all(len(of["by_fold"]) == len(results["folds"]) == 3 for of in (own, scaled, constant))
    assert scaled["mae"] < constant["mae"] < own["mae"]
    assert scaled["accuracy"] > own["accuracy"]


def test_what_is_said_of_the_coverage_of_sets_was_measured():
    results = json.loads((ROOT / "benchmarks" / "results" / "calibration.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "how_to" / "calibrate.md").read_text(encoding="utf-8")
    for of in results["cases"].values():
        everything, before = of["subsets"]["all"], of["as_trained"]
        assert everything["low"] > of["level"]
        assert (
            f"| {100 * of['level']:.0f} % | {100 * everything['coverage']:.1f} % | {everything['size']:.2f} of" in page
        )
        assert f"| {100 * before['coverage']:.1f} % | {before['size']:.2f} |" in page
        assert f"{of['nll'][0]:.3f} to {of['nll'][1]:.3f}" in page
    made, speech = results["cases"]["synthetic"], results["cases"]["action_units"]
    own = [100 * held["coverage"] for name, held in made["subsets"].items() if name != "all"]
    assert f"{min(own):.1f} to {max(own):.1f} %" in page
    alone = speech["subsets"]["action_units"]
    assert alone["runs_with_a_threshold_of_their_own"] == 0
    assert f"{100 * alone['coverage']:.0f} % of them are covered" in page
    by_fold = [100 * run["held"]["all"]["coverage"]["value"] for run in speech["runs"]]
    assert f"{min(by_fold):.1f} and {max(by_fold):.1f} % are covered" in page
    assert f"{100 * speech['ece'][0]:.1f} to {100 * speech['ece'][1]:.1f} %" in page


def test_what_is_said_of_damaged_files_was_tried_by_the_tests_that_are_there():
    results = json.loads((ROOT / "benchmarks" / "results" / "fuzz.json").read_text(encoding="utf-8"))
    assert results["uncommitted_changes"] is False
    assert results["tried"] == sum(test["tried"] for test in results["tests"]) > 100_000
    assert {test["file"] for test in results["tests"]} == {
        path.name for path in (ROOT / "tests" / "fuzz").glob("test_*.py")
    }


def test_what_is_said_of_streams_was_measured():
    results = json.loads((ROOT / "benchmarks" / "results" / "timeline.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "how_to" / "live.md").read_text(encoding="utf-8")
    of = results["streams_beside_films"]
    assert of["rendered films"]["films"] == of["rendered films"]["same_winner"] == 20
    assert of["films of people"]["films"] == of["films of people"]["same_winner"] == 6
    for films in of.values():
        assert films["frames_without_a_box"] == 0
        apart = films["edges_apart_by_side"]
        assert f"{100 * apart['mean']:.1f} %" in text
        assert f"{100 * apart['largest']:.0f} %" in text
        assert f"{films['difference_of_a_probability_at_the_end']['largest']:.3f}" in text
    assert results["timeline"]["largest_difference_of_a_probability"] < 1e-5
    assert max(results["resampling_in_blocks_largest_difference"].values()) < 1e-6
    assert results["steps"]["ResNet-18 and log-mel"]["high"] < 0.25


def test_a_training_is_reported_on_whole_sets_and_its_accuracy_is_that_of_its_confusion():
    results = json.loads((ROOT / "benchmarks" / "results" / "pretrain_fer2013.json").read_text(encoding="utf-8"))
    assert list(results["tests"]) == ["PublicTest", "PrivateTest"]
    for of in results["tests"].values():
        cells = of["confusion"]
        assert sum(map(sum, cells)) == of["samples"] == 3589
        right = sum(row[place] for place, row in enumerate(cells))
        assert of["accuracy"]["value"] == pytest.approx(right / 3589)
        assert of["accuracy"]["low"] < of["accuracy"]["value"] < of["accuracy"]["high"]


def test_the_results_in_the_readme_are_those_that_were_measured():
    table = generate().summary_table(ROOT / "benchmarks" / "results")
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_component_has_a_place_in_the_reference(tmp_path):
    from fusionkit.config.components.registry import REGISTRIES

    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    generate().write_pages(docs)
    listed = (ROOT / "docs" / "reference" / "components.md").read_text(encoding="utf-8")
    for kind, registry in REGISTRIES.items():
        assert f"generated/{kind}" in listed
        page = (docs / "reference" / "generated" / f"{kind}.md").read_text(encoding="utf-8")
        for component in registry:
            assert f"## {component.name}\n" in page
            assert all(f"| `{option}` |" in page for option in component.options.model_fields)


def test_links_between_pages_lead_somewhere():
    pages = list((ROOT / "docs").rglob("*.md"))
    assert pages
    for page in pages:
        if "_build" in page.parts or "generated" in page.parts:
            continue
        for target in re.findall(r"\]\(([^)#]+\.md)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{page}: {target}"


def test_every_figure_of_augmentation_is_shown_and_made():
    page = (ROOT / "docs" / "explanation" / "augmentation.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\(generated/(\w+)\.png\)", page))
    assert shown == set(load_script("docs/figures").DRAWINGS)


@pytest.mark.slow
def test_figures_are_drawn_and_drawn_again_only_where_what_they_show_changed(tmp_path):
    figures = load_script("docs/figures")
    figures.draw_figures(tmp_path)
    made = {path.stem: path.stat() for path in tmp_path.glob("*.png")}
    assert set(made) == set(figures.DRAWINGS)
    assert all(state.st_size > 20_000 for state in made.values())
    (tmp_path / "segments.png").unlink()
    figures.draw_figures(tmp_path)
    again = {path.stem: path.stat() for path in tmp_path.glob("*.png")}
    assert {name for name in made if again[name].st_mtime_ns != made[name].st_mtime_ns} == {"segments"}


@pytest.mark.parametrize("page", ["films", "own_data"])
def test_whole_recipes_of_the_pages_on_own_data_say_their_schema(page):
    blocks = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "how_to" / f"{page}.md").read_text(encoding="utf-8"), re.S
    )
    whole = [found for block in blocks if {"data", "model"} <= set(found := yaml.safe_load(block))]
    assert whole
    for recipe in whole:
        assert load_recipe(recipe).version == 1


def test_the_networks_of_the_films_page_can_be_built():
    import fusionkit

    text = (ROOT / "docs" / "how_to" / "films.md").read_text(encoding="utf-8")
    models = [
        found["model"]
        for block in re.findall(r"```yaml\n(.*?)```", text, re.S)
        if "model" in (found := yaml.safe_load(block))
    ]
    assert len(models) == 2
    for model in models:
        for modality, shape in (("video", [3, 112, 112]), ("audio", [])):
            model["modalities"][modality]["shape"] = shape
        model["targets"] = {"mood": {"type": "classification", "classes": ["calm", "happy"]}}
        assert fusionkit.build(model).modalities == ("video", "audio")


def compared(means, best=None):
    """Results of a comparison of methods with these means; the first is the ensemble."""
    first, *others = means
    pairs = [
        {"column": name, "difference": means[name] - means[first], "holm_p": 0.01 if name == "clear" else 0.5}
        for name in others
    ]
    return {
        "metric": "accuracy",
        "higher_is_better": True,
        "summary": {name: {"mean": mean} for name, mean in means.items()},
        "comparison": {"against_first": pairs},
        **({"best": {"fused": best}} if best else {}),
    }


def test_the_overview_of_methods_ranks_them_over_sets_and_says_what_is_clear_and_what_is_left_to_the_best():
    sets = {
        "real_one": compared({"ensemble": 0.60, "clear": 0.66, "unclear": 0.61, "elsewhere": 0.9}),
        "made_two": compared({"ensemble": 0.70, "clear": 0.72, "unclear": 0.75}, best=0.80),
    }
    literature = load_script("docs/literature")

    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in literature.overview(sets).splitlines()]

    assert lines[0] == ["", "mean rank", "real one: beyond the ensemble", "made two"]
    assert lines[2:] == [
        ["clear", "1.5", "**+6.0**", "-8.0"],
        ["unclear", "1.5", "+1.0", "-5.0"],
        ["ensemble", "3.0", "60.0 %", "-10.0"],
    ]
    assert literature.mean_ranks({}) == {}
    assert "Over 2 sets and 3 methods" in literature.noise_line(sets)


def test_the_comparisons_of_the_literature_hold_every_fusion_and_balancer_that_a_recipe_can_name_alone():
    from fusionkit.config.components.registry import BALANCERS, FUSIONS
    from fusionkit.experiments import load_comparison

    elsewhere = {
        "multi_term",
        "g_blend",
        "fused_only",
        "jacobian_descent",
    }  # the sum; weights of one's own; N0; an extra
    for name in ("action_units", "faces_and_voices", "views"):
        experiment, spec = load_comparison(ROOT / "benchmarks" / "literature" / f"{name}_comparison.yaml")
        recipes = list(experiment.recipes.values())
        assert {recipe.model.fusion.type for recipe in recipes} == set(FUSIONS.names())
        used = {(recipe.train.balancer.type, recipe.model.fusion.type) for recipe in recipes}
        for balancer in set(BALANCERS.names()) - elsewhere:
            assert used >= {(balancer, "concat"), (balancer, "mrpn")}
        assert spec.tuning is not None


PAGE = ROOT / "docs" / "explanation" / "which_fusion.md"


def test_every_figure_in_a_sentence_is_computed_and_every_computed_one_is_told():
    figures = load_script("docs/sentences").figures_of_pages(ROOT / "benchmarks" / "results")
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    told = [name for page in pages for name in re.findall(r"\{\{ (\w+) \}\}", page)]

    assert set(told) == set(figures)
    # A minus would turn a sentence round.
    assert not {name: value for name, value in figures.items() if not re.fullmatch(r"[\d,]+(\.\d+)?", value)}


def test_a_figure_on_which_fusion_follows_what_was_measured(tmp_path):
    for file in (ROOT / "benchmarks" / "results").glob("*.json"):
        if file.name.startswith(("literature_", "diagnosis_")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    altered = tmp_path / "literature_bar_longer.json"
    results = json.loads(altered.read_text(encoding="utf-8"))
    results["summary"]["N1"]["mean"] = 0.125
    altered.write_text(json.dumps(results), encoding="utf-8")

    assert load_script("docs/which_fusion").figures_of_page(tmp_path)["long_n1"] == "12.5"


def test_what_is_said_of_gradients_and_encoders_was_measured():
    results = json.loads((ROOT / "benchmarks" / "results" / "diagnosis_action_units.json").read_text(encoding="utf-8"))
    joint = {name: of for name, of in results["variants"].items() if of["gradients"]}
    assert list(joint) == ["N0", "N1", "N2"]
    found = [each for of in joint.values() for each in of["gradients"].values()]
    probes = {name: next(iter(of["targets"].values()))["probe"] for name, of in joint.items()}

    assert all(each["thirds"]["first"]["value"] < each["thirds"]["middle"]["value"] for each in found)
    assert all(probes[name]["audio"]["kept"]["value"] > 0 for name in ("N1", "N2"))
    assert all(0.025 < -each["action_units"]["kept"]["value"] < 0.05 for each in probes.values())


def test_what_is_said_of_methods_over_all_sets_was_measured():
    literature, points = load_script("docs/literature"), load_script("docs/which_fusion").points
    sets = literature.literature_results(ROOT / "benchmarks" / "results")
    for name in literature.BARS:
        del sets[name]
    synthetic = {name: of for name, of in sets.items() if "best" in of}
    real = {name: of for name, of in sets.items() if name not in synthetic}
    means = {name: {method: of["mean"] for method, of in results["summary"].items()} for name, results in sets.items()}

    assert (len(real), len(synthetic)) == (2, 5)
    for results in real.values():
        pairs = [*results["comparison"]["against_first"], *results["comparison"]["pairs"]]
        assert any(pair["p"] is not None for pair in pairs)
        assert all(pair["holm_p"] is None or pair["holm_p"] >= 0.05 for pair in pairs)
    for results in synthetic.values():  # one test part: nothing could be tested
        assert len(results["folds"]) == 1
        assert all(pair["p"] is None for pair in results["comparison"]["against_first"])
    assert points(sets, "N0", "concat")[-1] < 0  # worse on every set
    for fusion in ("concat", "mrpn"):
        assert points(sets, f"ogm_ge + {fusion}", fusion)[-1] < 0
        assert points(sets, f"lfm + {fusion}", fusion)[-1] < 0
    for of in means.values():
        order = sorted(of, key=lambda method: of[method])
        assert all(order.index(method) < 20 for method in ("bilinear", "lfm + concat", "lfm + mrpn"))
    ranks = literature.mean_ranks(sets)
    assert "low_rank" in sorted(ranks, key=lambda method: -ranks[method])[:8]
    assert points(sets, "residual bilinear", "bilinear")[0] > 0
    gated = points(sets, "residual gated", "gated")
    assert sum(change < 0 for change in gated) == 6
    assert gated[-1] == 0
    for fusion in ("film", "attention"):
        changes = points(sets, f"residual {fusion}", fusion)
        assert changes[0] < 0 < changes[-1]
    last = [min(means[name], key=lambda method: means[name][method]).split(" ")[0] for name in synthetic]
    assert last.count("mmcosine") == 2
    balanced = [(means[name], method) for name in synthetic for method in means[name] if " + " in method]
    close = [abs(of[method] - of[method.split(" + ")[1]]) <= 0.01 for of, method in balanced]
    assert sum(close) > len(close) / 2
    best = max(means["faces_and_voices"], key=lambda method: means["faces_and_voices"][method])
    assert best == "umt with heads + mrpn"
    trials = {}
    for choice in sets["action_units"]["comparison"]["choices"]:
        trials.setdefault(choice["variant"], []).append(max(choice["values"]))
    mean_trial = {method: sum(values) / len(values) for method, values in trials.items()}
    assert max(mean_trial, key=lambda method: mean_trial[method]) == "umt with heads + concat"


def test_what_is_said_of_the_ten_folds_was_measured():
    literature, points = load_script("docs/literature"), load_script("docs/which_fusion").points
    sets = literature.literature_results(ROOT / "benchmarks" / "results")
    bar, longer = (sets[name] for name in literature.BARS)
    taught = "umt with heads + concat"
    against = {pair["column"]: pair for pair in bar["comparison"]["against_first"]}
    gains = {name: pair["difference"] for name, pair in against.items()}

    assert (len(bar["seeds"]), len(bar["folds"])) == (2, 10)
    assert round(gains["N1"], 3) == round(gains["N2"], 3)
    assert min(gains, key=lambda name: gains[name]) == "N0"
    assert all(pair["holm_p"] > 0.05 for name, pair in against.items() if name != taught)
    sure = [pair for pair in bar["comparison"]["pairs"] if pair["holm_p"] < 0.05]
    assert [(pair["column"], pair["other"]) for pair in sure] == [(taught, "ensemble")]
    assert points({"": bar}, taught, "N1") == points({"": bar}, taught, "N2")
    assert longer["comparison"]["budget"]["epochs"] == 2 * bar["comparison"]["budget"]["epochs"] == 30
    assert longer["summary"]["N1"]["mean"] > bar["summary"][taught]["mean"]
    assert longer["summary"]["ensemble"]["mean"] > bar["summary"]["ensemble"]["mean"]
    long = {pair["column"]: pair for pair in longer["comparison"]["against_first"]}
    assert round(long[taught]["holm_p"], 1) == round(long["N1"]["holm_p"], 1) == 0.1


def test_whoever_reads_pages_in_the_repository_is_told_that_figures_come_with_the_build() -> None:
    for file in ("README.md", "docs/README.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert "`make docs`" in text
        assert "{{name}}" in text
