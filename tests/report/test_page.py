"""The report as a page: what stands in it, what its words say, and that nothing breaks it."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from report_folders import comparison_of, pair_of, record_of, results_of, write_experiment, write_results

from fusionkit.cli import main
from fusionkit.errors import RunError
from fusionkit.report.figures import features, style
from fusionkit.report.pages.blocks import Table
from fusionkit.report.pages.experiment import title_of, write_report
from fusionkit.report.pages.sections import comparison_table
from fusionkit.report.text.verdict import _how_many, verdict

FIGURES = {
    "calibration",
    "confusion",
    "features",
    "features_adapted",
    "fold_intervals",
    "folds",
    "learning_curves",
    "table",
}
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a browser would see: elements that are closed in order, what they load, and the words."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loaded, self.links, self.images, self.tags, self.words = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.loaded += [value for key, value in given.items() if key in ("src", "srcset", "data", "poster", "action")]
        if tag == "link":
            self.loaded.append(given["href"])
        elif "href" in given:
            self.links.append(given["href"])
        if tag == "img":
            self.images.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(autouse=True, scope="module")
def _quickly():
    """Coarse figures, and planes of two features: what t-SNE does is tested where its module is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 40)
        patch.setattr(features, "_embedded", lambda values, perplexity, seed: np.resize(values.T, (2, len(values))).T)
        yield


@pytest.fixture(scope="module")
def reported(_quickly, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    paper = {
        "source": "Table 2, https://doi.org/10.3390/s21165452",
        "unit": "percent",
        "folds": {"N2": {"A1,2": 97.5, "A3,4": 92.1, "A9,10": 91.4}, "VM": {"A9,10": 93.0}},
        "also": [{"source": "Table 4", "values": {"N2": 90.8}}],
    }
    write_experiment(folder, results_of(paper=paper, seeds=(0, 1)))
    return write_report(folder)


def test_a_page_is_whole_loads_nothing_and_shows_every_figure(reported):
    text = reported.html.read_text()
    page = Page(text)
    assert reported.missing == ()
    assert {file.stem for file in reported.figures} == FIGURES
    assert all(source.startswith("data:") for source in page.loaded)
    assert len(page.images) == len(FIGURES) - 1  # the table is a table there
    assert "script" not in page.tags
    assert not re.search(r"@import|url\(", text)
    for image in page.images:
        assert len(image["alt"]) > 20
        assert base64.b64decode(image["src"].partition(",")[2]).startswith(b"\x89PNG")
    assert all(link.startswith(("#", "https://doi.org/")) for link in page.links)
    assert "https://doi.org/10.3390/s21165452" in page.links
    anchors = re.findall(r'<section id="([^"]+)"', text)
    assert {link for link in page.links if link.startswith("#")} == {f"#{anchor}" for anchor in anchors}


def test_a_page_names_every_variant_and_fold_and_how_the_numbers_came_about(reported):
    text = Page(reported.html.read_text()).text
    for said in ("late fusion", "AM", "VM", "ensemble", "N2", "A1,2", "A3,4", "A5,6", "A9,10"):
        assert said in text
    for said in ("speaker-independent", "last epoch", "fusionkit experiment e.yaml --out o", "Linux", "0" * 40):
        assert said in text


def test_markdown_says_the_same_and_names_the_figures_beside_it(reported):
    text = reported.markdown.read_text()
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert {Path(name).stem for name in named} == FIGURES - {"table"}
    assert all((reported.markdown.parent / name).is_file() for name in named)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    page = Page(reported.html.read_text())
    assert headings == [heading for heading in headings if heading in page.text]
    assert "not measured" in text


def test_the_template_is_in_the_package():
    assert resources.files("fusionkit.report.pages").joinpath("page.html.j2").is_file()


def test_a_report_may_go_to_another_folder_and_leaves_the_experiment_alone(tmp_path):
    source = write_experiment(tmp_path / "experiment", results_of())
    before = sorted(source.rglob("*"))
    written = write_report(source, tmp_path / "out" / "report")
    assert sorted(source.rglob("*")) == before
    assert written.html == tmp_path / "out" / "report" / "report.html"
    assert {file.parent for file in written.figures} == {tmp_path / "out" / "report" / "figures"}


ODD = ("<script>alert(1)</script>", "$\\frac{x$", "a|b\nc", "情绪", "x" * 90, "x" * 90 + "y")


def test_odd_names_are_shown_and_never_run(tmp_path):
    folds = ("<b>bold</b>", "fold $1$", "a|b")
    results = results_of(folds=folds, classes=ODD)
    results["command"] = "</pre><img src=http://elsewhere>"
    written = write_report(write_experiment(tmp_path, results, missing=True))
    text = written.html.read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert all(source.startswith("data:") for source in page.loaded)
    for name in (*folds, ODD[0], "</pre><img src=http://elsewhere>"):
        assert name in page.text
    markdown = written.markdown.read_text()
    assert "<script>" not in markdown
    assert "<b>" not in markdown
    assert len({line.count("|") - line.count("\\|") for line in markdown.splitlines() if line.startswith("| <")}) <= 1
    assert written.missing == ()


@pytest.mark.parametrize(
    ("changes", "options", "drawn", "missing"),
    [
        ({"folds": ("A1,2",)}, {}, FIGURES, ()),
        ({}, {"missing": True}, FIGURES, ()),
        ({"classes": ("only",)}, {}, FIGURES, ()),
        ({"classes": tuple(f"person {n}" for n in range(100))}, {"samples": 120}, FIGURES, ()),
        (
            {"classes": None, "metric": "mae", "higher": False},
            {"outputs": 1},
            FIGURES - {"confusion", "calibration"} | {"numbers"},
            (),
        ),
        (
            {"classes": None, "metric": "mae", "higher": False},
            {"outputs": 3, "missing": True},
            FIGURES - {"confusion", "calibration"} | {"numbers"},
            (),
        ),
        (
            {},
            {"samples": 4},
            FIGURES - {"features", "features_adapted"},
            (
                "Features in the plane: not drawn, because 4 samples are too few for a plane; it takes 5.",
                "Features before and after the residual perceptrons: not drawn, because 4 samples are too few for a "
                "plane; it takes 5.",
            ),
        ),
        ({}, {"width": 1}, FIGURES, ()),
    ],
)
def test_every_kind_of_experiment_has_a_report(tmp_path, changes, options, drawn, missing):
    written = write_report(write_experiment(tmp_path, results_of(**changes), **options))
    assert {file.stem for file in written.figures} == drawn
    assert written.missing == missing
    assert all(sentence in Page(written.html.read_text()).text for sentence in missing)


def test_many_folds_have_a_table_instead_of_a_figure_of_intervals(tmp_path):
    results = results_of(folds=tuple(f"actor {n}" for n in range(91)))
    results["confusion"] = {"classes": None, "matrices": {}}
    written = write_report(write_results(tmp_path, results))
    assert any("91 folds are more than a figure shows" in sentence for sentence in written.missing)
    assert "actor 90" in Page(written.html.read_text()).text


def test_without_its_run_folders_an_experiment_has_the_figures_of_its_results(tmp_path):
    folder = write_results(tmp_path, results_of())
    (folder / "figures").mkdir()
    (folder / "figures" / "features.png").touch()  # of an earlier report
    written = write_report(folder)
    assert {file.stem for file in written.figures} == {"table", "folds", "fold_intervals", "confusion"}
    assert {file.stem for file in (folder / "figures").iterdir()} == {"table", "folds", "fold_intervals", "confusion"}
    for what in ("Features in the plane", "Learning curves", "Calibration"):
        assert any(sentence.startswith(f"{what}: not drawn, because the folder runs/") for sentence in written.missing)


def test_a_damaged_run_is_left_out_and_said(tmp_path):
    folder = write_experiment(tmp_path, results_of())
    damaged = folder / results_of()["rows"][0]["run"]
    (damaged / "predictions.safetensors").write_bytes(b"nothing")
    with (damaged / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "sta')
    text = Page(write_report(folder).html.read_text()).text
    assert "1 run is left out:" in text
    assert "log.jsonl: line 10: cannot be read as JSON" in text
    assert "is damaged and cannot be read" in text


@pytest.mark.parametrize("damage", ["{}", "[]", '{"targets": {'])
def test_a_damaged_card_is_named_with_the_command_that_makes_it_anew(tmp_path, damage):
    folder = write_experiment(tmp_path, results_of())
    file = folder / results_of()["rows"][0]["run"] / "metrics.json"
    file.write_text(damage)
    written = write_report(folder)
    said = (
        f"{file}: the card is damaged; the same command, `fusionkit experiment` or `fusionkit compare`, makes it anew"
    )
    assert any(said in sentence for sentence in written.missing)


def test_an_experiment_whose_every_run_failed_still_has_a_page(tmp_path):
    results = results_of()
    for column in results["summary"].values():
        column |= {"by_fold": {}, "mean": None, "low": None, "high": None, "against": {}, "over_alone": None}
        column |= {"inferior": None, "compared_folds": None}
    results["rows"], results["confusion"] = [], {"classes": None, "matrices": {}}
    results["protocol"]["label"] = results["selection"] = results["device"] = ""  # no card says them
    results["failures"] = [
        {"variant": "N2", "fold": "A1,2", "seed": 0, "error": "<out> of luck", "traceback": "Traceback: <here>"}
    ]
    written = write_report(write_results(tmp_path, results))
    text = Page(written.html.read_text()).text
    assert "No answer. No run has finished: 1 failed." in text
    assert "<out> of luck" in text
    assert "Traceback: <here>" in text
    assert written.figures == written.missing == ()
    for invented in ("Protocol", "epoch: .", "could not be drawn", "no classes", ", , ", "Careful"):
        assert invented not in text
        assert invented not in written.markdown.read_text()


def test_a_failed_run_leaves_a_gap_and_a_caution(tmp_path):
    results = results_of()
    del results["summary"]["N2"]["by_fold"]["A1,2"]
    results["rows"] = [row for row in results["rows"] if (row["variant"], row["fold"]) != ("N2", "A1,2")]
    results["failures"] = [{"variant": "N2", "fold": "A1,2", "seed": 0, "error": "out of luck", "traceback": ""}]
    written = write_report(write_experiment(tmp_path, results))
    text = Page(written.html.read_text()).text
    assert "Careful: 1 run failed" in text
    assert "Runs that failed: 1." in text
    assert "features" in {file.stem for file in written.figures}  # of the first fold that every network has


# What the words say


def told(values, **options):
    """The first sentence, and all of them."""
    folds = tuple(f"f{n}" for n in range(len(values["N2"])))
    sentences = verdict(record_of(results_of(values, folds=folds, **options)))
    return sentences[0], " ".join(sentences)


ALONE = {"AM": [0.50, 0.52, 0.48, 0.51], "VM": [0.60, 0.61, 0.59, 0.60], "ensemble": [0.70, 0.71, 0.69, 0.70]}


def test_fusing_helps_where_every_fused_network_beats_the_best_modality_by_more_than_noise():
    first, every = told({**ALONE, "late fusion": [0.72, 0.71, 0.72, 0.71], "N2": [0.8, 0.82, 0.78, 0.8]})
    assert first.startswith(
        "Fusing helps: N2, the best of 2 fused networks, reaches 80.0 % (accuracy of emotion), 20.0 points better than "
        "the best network of one modality alone, video (60.0 %); 95 % interval of the gain +18.7 to +21.3 points"
    )
    assert first.endswith("Both fused networks are better than the best single modality by more than noise.")
    assert "put together, reach 70.0 % by averaging their answers. N2 is 10.0 points better, which is larger" in every
    assert "Against late fusion, the first column, the difference is larger than noise for N2 (8.5 points better)" in (
        every
    )
    assert "In no fold is a single modality better than a trained fused network." in every


def test_fusing_helps_in_some_forms_where_only_some_networks_do():
    first, every = told({**ALONE, "late fusion": [0.9, 0.3, 0.9, 0.31], "N2": [0.8, 0.81, 0.79, 0.81]})
    assert first.startswith("Fusing helps in some forms, not in all: N2")
    said = "N2 is better than the best single modality by more than noise; late fusion is within noise of it."
    assert first.endswith(said)
    assert (
        "A single modality is better than late fusion in 2 of 4 folds (f1: video; f3: video), than N2 in none." in every
    )


def test_of_one_modality_it_is_said_that_there_is_nothing_to_fuse_and_fusing_is_not_discussed():
    results = results_of()
    results["recipes"] = {"late fusion": {"model": {"modalities": {"audio": {}}}}}
    first, *others = verdict(record_of(results))
    assert first.startswith(
        "There is one modality, audio, so there is nothing to fuse. Of 5 columns the best, N2, reaches"
    )
    assert not any(
        "usion helps" in each or "using helps" in each or "single modality is" in each for each in (first, *others)
    )
    assert title_of(record_of(results))[0] == "One modality: audio"


def test_fusing_does_not_help_where_it_is_surely_worse():
    first, every = told({**ALONE, "late fusion": [0.5, 0.5, 0.49, 0.51], "N2": [0.55, 0.56, 0.55, 0.54]})
    assert first.startswith("Fusing does not help, it harms: N2")
    assert "5.0 points worse than the best network of one modality alone" in first
    assert "N2 in 4 of 4" in every


def test_equal_gains_in_all_folds_are_no_certainty():
    first, _ = told({**ALONE, "late fusion": [0.5, 0.51, 0.49, 0.5], "N2": [a + 0.2 for a in ALONE["VM"]]})
    assert first.startswith("Whether fusing helps is unclear: N2")
    assert "the difference is the same in all 4 folds, which does not tell how far it spreads" in first


def test_on_the_page_of_a_comparison_larger_than_noise_is_what_holm_leaves():
    values = {**ALONE, "late fusion": [0.72, 0.71, 0.72, 0.71], "N2": [0.8, 0.82, 0.78, 0.8]}
    results = results_of(values, folds=("f0", "f1", "f2", "f3"))
    assert "each test for itself" in " ".join(verdict(record_of(results)))

    results["comparison"] = comparison_of(
        against_first=[pair_of("N2", "late fusion", holm_p=0.051)],
        pairs=[pair_of("N2", "late fusion", holm_p=0.01), pair_of("N2", "ensemble", holm_p=0.2)],
        over_alone={"N2": 0.049, "late fusion": 0.06},
    )
    first, *others = verdict(record_of(results))
    every = " ".join(others)

    assert first.startswith("Fusing helps in some forms, not in all")
    assert first.endswith("modality by more than noise; late fusion is within noise of it.")
    assert "N2 is 10.0 points better, which is within noise." in every
    assert "Against late fusion, the first column, the difference is within noise for N2" in every
    assert "corrected for the number of tests (Holm)" in every
    assert "each test for itself" not in every

    del results["comparison"]["over_alone"]
    assert verdict(record_of(results))[0].startswith("No answer: an earlier version wrote these results")


def test_it_is_unclear_where_no_difference_is_larger_than_noise():
    first, _ = told({**ALONE, "late fusion": [0.7, 0.5, 0.66, 0.55], "N2": [0.65, 0.55, 0.68, 0.57]})
    assert first.startswith("Whether fusing helps is unclear: N2")
    assert first.endswith("Both fused networks are within noise of the best single modality.")


def test_networks_of_one_answer_are_counted_in_words():
    assert _how_many(list("abcd"), [], []) == "All four fused networks are within noise of the best single modality."
    assert _how_many(list("ab"), list("ab"), []).startswith("Both fused networks are better than the best single")


def test_one_fold_is_never_enough():
    first, every = told({name: of[:1] for name, of in ALONE.items()} | {"late fusion": [0.9], "N2": [0.95]})
    assert first.startswith("Whether fusing helps is unclear, for one fold cannot tell a gain from noise. On it N2")
    assert "larger than noise" not in every


def test_less_is_better_where_a_metric_says_so():
    values = {"AM": [0.5, 0.52], "VM": [0.4, 0.41], "ensemble": [0.38, 0.38]}
    first, _ = told(
        {**values, "late fusion": [0.3, 0.312], "N2": [0.2, 0.212]}, metric="mae", higher=False, classes=None
    )
    assert first.startswith(
        "Fusing helps: N2, the best of 2 fused networks, reaches 0.206 (mae of emotion), 0.199 better"
    )


def test_what_makes_numbers_too_good_is_said():
    results = results_of()
    results["protocol"]["label"], results["selection"] = "speaker-dependent", "selected on the reported data"
    every = " ".join(verdict(record_of(results)))
    assert "the protocol is speaker-dependent, the same people are trained on and tested on" in every
    assert "the epoch was selected on what is reported" in every
    assert "Careful" not in " ".join(verdict(record_of(results_of())))
    results["protocol"]["label"] = "pump-dependent"
    assert "pump-dependent, the same pumps are trained on and tested on" in " ".join(verdict(record_of(results)))


# The command


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda folder: None,
            "is no folder; name the one that `fusionkit experiment` or `fusionkit compare` wrote with --out",
        ),
        (lambda folder: folder.mkdir(), "holds no results.json"),
        (
            lambda folder: (folder.mkdir(), (folder / "recipe.yaml").touch(), (folder / "environment.json").touch()),
            "holds one run; a report is of an experiment or a comparison",
        ),
        (lambda folder: (folder.mkdir(), (folder / "results.json").write_text("{")), "cannot be read as JSON"),
        (lambda folder: write_results(folder, {"format": 9}), "format 9; this version reads format 1"),
        (lambda folder: write_results(folder, {"format": 1, "columns": []}), "experiment: missing; "),
    ],
)
def test_a_folder_without_results_ends_with_status_2_and_says_why(tmp_path, capsys, make, said):
    make(tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    source = write_results(tmp_path / "in", results_of())
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="the report cannot be written"):
        write_report(source, tmp_path / "file" / "below")


def test_the_command_ends_by_naming_the_page(tmp_path, capsys):
    write_results(tmp_path, results_of())
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path)])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().splitlines()[-1] == f"Open this page: {tmp_path / 'report.html'}"
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path), "--out", str(tmp_path / "there"), "--json"])
    told_as_data = json.loads(capsys.readouterr().out)
    assert told_as_data["html"] == str(tmp_path / "there" / "report.html")
    assert (tmp_path / "there" / "report.html").is_file()


def test_every_pair_of_variants_has_one_row() -> None:
    table = comparison_table(record_of({}))
    assert isinstance(table, Table)
    pairs = [frozenset(row[:2]) for row in table.rows]
    assert len(pairs) == len(set(pairs))
    assert {"late fusion", "N2"} in pairs
    assert not any("alone" in row[1] for row in table.rows)  # that network is a column, and is called like it


def test_the_best_network_of_one_modality_has_its_own_row_where_no_column_is_known_to_be_it() -> None:
    results = results_of()
    for column in results["columns"]:
        column["alone"] = None  # as in results of earlier versions
    table = comparison_table(record_of(results))
    assert isinstance(table, Table)
    assert any(row[1].endswith(" alone") for row in table.rows)
