"""Tables and figures of an experiment's results."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
from report_folders import record_of, results_of

from fusionkit.cli.terminal.output import print_table
from fusionkit.errors import RunError
from fusionkit.report.figures.confusion import draw_confusions
from fusionkit.report.figures.curves import draw_learning_curves
from fusionkit.report.figures.folds import draw_figures, draw_folds
from fusionkit.report.figures.style import COLOURS, save_figure
from fusionkit.report.text.tables import markdown, table_text

FOLDS = [f"A{odd},{odd + 1}" for odd in range(1, 24, 2)]
NAMES = ["late fusion", "AM", "VM", "ensemble", "N0", "N1", "N2"]
BRANCHES = ["fused", "audio", "video", "ensemble", "fused", "fused", "fused"]


def results(metric="accuracy"):
    """Hand-made results of the paper's size: twelve folds and seven variants."""
    summary, row = {}, results_of()["rows"][0]
    for position, name in enumerate(NAMES):
        by_fold = {fold: 0.5 + 0.05 * position + 0.01 * place for place, fold in enumerate(FOLDS)}
        difference = {"mean": 0.05 * position, "low": None, "high": None}
        compared = {"folds": 12, "difference": difference, "wilcoxon_p": 0.0005, "t_p": 0.04, "corrected_t_p": 0.0625}
        summary[name] = {
            "by_fold": by_fold,
            "mean": 0.555 + 0.05 * position,
            "low": 0.53 + 0.05 * position,
            "high": 0.58 + 0.05 * position,
            "against": {NAMES[0]: compared} if position else {},
            "inferior": None if name in ("AM", "VM") else {"A9,10": "video"} if name == "N2" else {},
            "compared_folds": None if name in ("AM", "VM") else 12,
        }
    return {
        "metric": metric,
        "higher_is_better": True,
        "target": "emotion",
        "folds": [{"name": fold} for fold in FOLDS],
        "seeds": [0, 1],
        "columns": [
            {"name": name, "branch": branch, "runs": name} for name, branch in zip(NAMES, BRANCHES, strict=True)
        ],
        "summary": summary,
        "rows": [{**row, "variant": name, "samples": 120} for name in NAMES],
        "confusion": {"classes": ["calm", "happy"], "matrices": {name: [[30, 10], [0, 0]] for name in NAMES}},
        "protocol": {"label": "speaker-independent", "folds": None},
        "selection": "last epoch",
        "experiment": {"variants": {}, "paper": None},
        "notes": [],
        "failures": [],
    }


def cells(given):
    text = table_text(record_of(given))
    return {row[0]: dict(zip(text.header[1:], row[1:], strict=True)) for row in (*text.folds, *text.summary)}


def test_folds_stand_below_each_other_and_variants_beside_each_other():
    table = cells(results())
    assert list(table)[:12] == FOLDS
    assert table["A3,4"]["late fusion"] == "51.0"
    assert table["mean"]["N2"] == "85.5"
    assert (table["95 % from"]["N2"], table["to"]["N2"]) == ("83.0", "88.0")
    assert (table["difference"]["late fusion"], table["difference"]["N2"]) == ("-", "+30.0")
    assert (table["p Wilcoxon"]["N2"], table["p t-test"]["N2"], table["p corrected"]["N2"]) == (
        "<0.001",
        "0.040",
        "0.062",
    )


def test_folds_where_a_single_modality_is_better_are_starred_and_counted():
    table = cells(results())
    assert table["A9,10"]["N2"] == "84.0*"
    assert [fold for fold in FOLDS if table[fold]["N2"].endswith("*")] == ["A9,10"]
    assert (table["single better"]["N2"], table["single better"]["N0"], table["single better"]["AM"]) == (
        "1/12",
        "0/12",
        "-",
    )


def test_a_metric_that_is_no_share_is_not_shown_in_per_cent():
    given = results("mae")
    given["summary"]["N0"]["by_fold"]["A1,2"] = 12.3456
    assert cells(given)["A1,2"]["N0"] == "12.3"
    assert table_text(record_of(given)).title == "mae of emotion"


def test_a_run_that_failed_leaves_a_gap_and_a_caption():
    given = results()
    del given["summary"]["N1"]["by_fold"]["A1,2"]
    given["failures"] = [{"variant": "N1", "fold": "A1,2", "seed": 0, "error": "out of luck"}]
    assert cells(given)["A1,2"]["N1"] == "-"
    assert "FAILED: N1, A1,2, seed 0: out of luck" in markdown(record_of(given))


def test_columns_over_fewer_samples_say_so():
    given = results()
    given["rows"][1]["samples"] = 90
    assert (
        "Columns over those samples only that have their modality: AM 75 % of all."
        in table_text(record_of(given)).captions
    )


def test_published_numbers_stand_under_the_table_with_their_source():
    given = results()
    given["experiment"]["paper"] = {"source": "Table 2", "values": {"N2": 0.9147}}
    assert cells(given)["paper"]["N2"] == "91.5"
    assert cells(given)["paper"]["N1"] == "-"
    assert "Paper: Table 2." in table_text(record_of(given)).captions


def test_protocol_selection_and_seeds_stand_under_every_table():
    captions = table_text(record_of(results())).captions
    assert captions[0] == "Protocol: speaker-independent; epoch: last epoch. A fold's figure is the mean of 2 seeds."


def printed(capsys, monkeypatch, *arguments, **options):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(*arguments, **options)
    return capsys.readouterr().out.splitlines()


def test_seven_variants_fit_eighty_columns_whole(capsys, monkeypatch):
    text = table_text(record_of(results()))
    lines = printed(capsys, monkeypatch, text.title, text.header, [text.folds, text.summary], right=range(1, 8))
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if "A9,10" in line)
    assert row.split() == ["A9,10", "54.0", "59.0", "64.0", "69.0", "74.0", "79.0", "84.0*"]
    assert sum("A9,10" in line for line in lines) == 1


@pytest.mark.parametrize("count", [2, 8, 15])
def test_no_table_breaks_a_word_however_many_columns_it_has(capsys, monkeypatch, count):
    names = [f"{name}{place}" for place, name in enumerate(["accelerometer", "N2 Transformer", "ensemble"] * 5)][:count]
    rows = [[f"fold{row}", *(f"{place}.{row}" for place in range(count))] for row in range(2)]

    lines = printed(capsys, monkeypatch, "accuracy", ["", *names], [rows], right=range(1, count + 1))

    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert all(word in words for name in names for word in name.split())
    for row in range(2):
        assert [word for word in words if word.endswith(f".{row}")] == [f"{place}.{row}" for place in range(count)]


def test_a_column_of_words_is_broken_between_them_and_one_long_word_takes_what_there_is(capsys, monkeypatch):
    sentence, path = "words that stand together " * 8, "/a" * 60

    lines = printed(capsys, monkeypatch, "", ["name", "what it is"], [[["first", sentence], ["second", path]]])

    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).count("words that stand together") == 8
    assert "".join(line.removeprefix("second").strip() for line in lines if "/a" in line) == path


def test_markdown_has_a_line_per_fold_of_as_many_cells_as_its_header():
    lines = [line for line in markdown(record_of(results())).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 12 + 8
    assert {line.count("|") for line in lines} == {len(NAMES) + 2}


def test_figures_are_written_as_png(tmp_path):
    files = draw_figures(record_of(results()), tmp_path / "new" / "figures")
    assert [file.name for file in files] == ["folds.png", "confusion.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_numbers_without_classes_have_no_confusion_figure(tmp_path):
    given = results("mae")
    given["confusion"] = {"classes": None, "matrices": {}}
    assert [file.name for file in draw_figures(record_of(given), tmp_path)] == ["folds.png"]


def test_an_experiment_whose_every_run_failed_has_no_figures(tmp_path):
    given = results()
    for column in given["summary"].values():
        column |= {"by_fold": {}, "mean": None, "low": None, "high": None, "against": {}}
    given["confusion"] = {"classes": None, "matrices": {}}
    assert draw_figures(record_of(given), tmp_path) == ()
    given["rows"] = []
    given["failures"] = [{"variant": "N1", "fold": "A1,2", "seed": 0, "error": "out of luck"}]
    assert markdown(record_of(given)) == (
        f"**{table_text(record_of(given)).title}**\n\n- No run has finished.\n- FAILED: N1, A1,2, seed 0: out of luck\n"
    )


def test_open_dots_mark_folds_where_a_single_modality_is_better():
    axes = draw_folds(record_of(results())).axes[0]
    dots = [item for item in axes.collections if len(item.get_offsets()) == 12 and hasattr(item, "get_sizes")]
    faces = [sum(tuple(face[:3]) == (1, 1, 1) for face in item.get_facecolors()) for item in dots]
    assert faces == [0, 0, 0, 0, 0, 0, 1]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES


def test_nothing_of_a_figure_lies_outside_of_it(tmp_path):
    given = results()
    given["summary"]["ensemble"]["inferior"] = {"A1,2": "audio"}
    for figure in (draw_folds(record_of(given)), draw_confusions(record_of(given))):
        save_figure(figure, tmp_path / "figure.png")
        width, height = figure.canvas.get_width_height()
        for item in (*figure.axes, *figure.legends, *figure.texts):
            box = item.get_tightbbox(figure.canvas.get_renderer())
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= width
            assert box.y1 <= height


def test_confusions_are_per_cent_of_the_true_class_and_a_class_without_samples_is_empty():
    figure = draw_confusions(record_of(results()), ["N2"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["75", "25"]
    assert figure.axes[0].images[0].get_array().tolist() == [[75, 25], [0, 0]]


def test_the_confusions_shown_are_those_of_the_first_and_the_last_fused_variant_and_the_ensemble():
    assert [axes.get_title() for axes in draw_confusions(record_of(results())).axes] == [
        "late fusion",
        "N2",
        "ensemble",
    ]


def test_a_variant_without_confusions_is_told():
    with pytest.raises(RunError, match="no confusion matrix of 'N9'; there are: late fusion"):
        draw_confusions(record_of(results()), ["N9"])


def test_learning_curves_have_a_panel_per_stage_and_skip_what_was_not_validated():
    log = [{"step": 1, "stage": "audio", "epoch": 0, "loss": 2.0}]
    for stage, validation in (("audio", 0.5), ("fusion", None)):
        log += [{"stage": stage, "epoch": epoch, "training": 1.0, "validation": validation} for epoch in range(3)]
    panels = draw_learning_curves(log).axes
    assert [axes.get_title() for axes in panels] == ["audio", "fusion"]
    assert [[line.get_label() for line in axes.lines] for axes in panels] == [["training", "validation"], ["training"]]
    assert list(panels[0].lines[0].get_xdata()) == [1, 2, 3]
    with pytest.raises(RunError, match="no epoch that has ended"):
        draw_learning_curves(log[:1])


def test_a_report_changes_nothing_of_the_results(tmp_path):
    given = results()
    before = copy.deepcopy(given)
    draw_figures(record_of(given), tmp_path)
    markdown(record_of(given))
    assert given == before
    assert json.loads(json.dumps(given)) == given


def test_colours_are_dark_enough_on_white():
    for colour in COLOURS:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert 1.05 / (luminance + 0.05) >= 3.0, colour


def test_tables_need_no_matplotlib():
    code = "import sys; from fusionkit.report.text.tables import markdown; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_interval_beyond_what_a_share_can_be_is_said_and_does_not_squeeze_the_figure():
    given = results()
    said = "too few folds to tell"
    assert not any(said in caption for caption in table_text(record_of(given)).captions)
    given["summary"]["N2"] |= {"low": -1.2, "high": 1.7}

    low, high = draw_folds(record_of(given)).axes[0].get_xlim()

    assert any(said in caption for caption in table_text(record_of(given)).captions)
    assert -2 <= low < high <= 102
