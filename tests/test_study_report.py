"""The reports of cross-validations and ablations, from fixtures made by hand."""

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import call, python
from hypothesis import given, settings
from hypothesis import strategies as st
from page import Page
from PIL import Image

from roadseg.config import Config
from roadseg.errors import RunError
from roadseg.reports.charts import Bar, Difference, bar_chart, dot_chart, forest_plot, reliability_diagram
from roadseg.reports.study import is_study, write_study_report

rng = np.random.default_rng(11)


def page_of(folder: Path) -> Page:
    return Page(write_study_report(folder).read_text(encoding="utf-8"))


# === A cross-validation ===


def run_record(fold: int, seed: int) -> dict[str, Any]:
    images = {
        f"img<{fold}{k}>": {"hash": "0" * 8, "pixels": [[700, 50], [40 + 9 * seed, 210]], "patches": [[70, 5], [4, 21]]}
        for k in range(3)
    }
    return {
        **{"version": 1, "variant": "baseline", "fold": fold, "folds": 3, "fold_seed": 43, "seed": seed},
        **{"asked": "a" * 16, "n_train": 6, "epochs": 20, "steps": 400, "parameters": 1234, "training_s": 120.0},
        **{"total_s": 150.0, "image_s": 0.25, "machine": {}, "versions": {}, "images": images},
    }


def scored(base: float) -> dict[str, Any]:
    names = ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy", "patch_f1")
    folds = [
        {"fold": k, "n_images": 3, "all_background_patch_accuracy": 0.75, **dict.fromkeys(names, base + k / 50)}
        for k in range(3)
    ]
    return {
        "per_fold": folds,
        "mean": dict.fromkeys(names, base + 0.02),
        "sd": dict.fromkeys(names, 0.0213),
        "pooled": {"n_images": 9, **dict.fromkeys(names, base + 0.0123)},
    }


def crossval_content() -> dict[str, Any]:
    recipe = Config().to_dict()
    recipe["network"]["width"] = 48
    dataset = {"name": "towns & <fields>", "pairs": 9, "classes": ["background", "road"], "summary": "9 pairs\nRGB"}
    return {
        **{"version": 1, "kind": "crossval", "dataset": dataset, "folds": 3, "fold_seed": 43, "group": None},
        **{"seeds": [0, 1], "recipe": recipe, "length": "20 minutes a fold"},
        "scores": {"single": scored(0.8), "tta": scored(0.81), "seeds": scored(0.82), "seeds_tta": scored(0.83)},
        "runs": [run_record(fold, seed) for fold in range(3) for seed in (0, 1)],
        "machine": {"cpu": "Two <cores>"},
        "versions": {"keras": "3.15.1"},
    }


def calibration_content() -> dict[str, Any]:
    bins = [
        {
            **{"low": k / 15, "high": (k + 1) / 15, "mean_probability": None if k == 7 else (k + 0.5) / 15},
            **{"road_share": None if k == 7 else (k + 0.5) / 16, "pixels": 0 if k == 7 else 10 ** (1 + k % 5)},
        }
        for k in range(15)
    ]
    threshold = {"threshold": 0.41, "score_at_half": 0.8123, "score_nested": 0.8111, "score_in_sample": 0.8199}
    return {
        **{"version": 1, "n_pixels": 9000, "road_share_pixels": 0.25, "road_share_patches": 0.26},
        **{"stated_road_share": 0.16, "temperature": 1.31, "ece": 0.0412, "ece_after": 0.0123, "reliability": bins},
        "thresholds": {"pixel_f1": threshold, "patch_accuracy": threshold},
    }


def mistakes_content() -> dict[str, Any]:
    edges = [0, 1, 2, 4, 8, 16, None]
    bins = [
        {
            **{"side": side, "from": edges[k], "to": edges[k + 1], "pixels": 100, "errors": 20 - k},
            "error_share": (20 - k) / 100,
        }
        for side, order in (("road", range(5, -1, -1)), ("background", range(6)))
        for k in order
    ]
    share = {"pixel_f1": 0.7, "pixel_iou": 0.6, "patch_accuracy": 0.9}
    image = {"pixel_iou": 0.31, "wrong": 100, "pixels": 1000}
    suspect = {
        "stem": "a<1>",
        "kind": "road seen, none in the label",
        "box": [0, 4, 20, 30],
        "pixels": 99,
        "score": 98.5,
    }
    return {
        **{"version": 1, "threshold": 0.5, "seeds": [0, 1], "classes": 2, "n_images": 2},
        "errors": {"pixels": 1200, "wrong": 210, "missed": 100, "false_alarms": 110, "in_suspected_labels": 42},
        "by_distance": bins,
        "near_border": [{"px": 2, "errors": 0.37, "pixels": 0.33}, {"px": 4, "errors": 0.54, "pixels": None}],
        "by_road_share": [{"from": 0.05, "to": 0.1, "images": 2, **share}, {"from": 0.3, "to": None, "images": 0}],
        "worst": {
            "by_iou": ["a<1>", "b"],
            "by_wrong_pixels": ["b", "a<1>"],
            "overlays": {"a<1>": "mistakes/a<1>_overlay.png", "b": "mistakes/b_overlay.png"},
        },
        "label_errors": {
            "found": 30,
            "pixels": 999,
            "ranked": [suspect | {"picture": "mistakes/label_1.png"}, suspect],
        },
        "images": {"a<1>": image, "b": image},
    }


def crossval_folder(folder: Path) -> Path:
    (folder / "mistakes").mkdir(parents=True)
    for name, content in (
        ("crossval", crossval_content()),
        ("calibration", calibration_content()),
        ("mistakes", mistakes_content()),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))
    for name in ("a<1>_overlay.png", "label_1.png"):
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)).save(folder / "mistakes" / name)
    return folder


def test_the_page_of_a_cross_validation_says_all_of_it(tmp_path: Path) -> None:
    page = page_of(crossval_folder(tmp_path / "cv"))
    for words in (
        *("towns & <fields>: cross-validation", "3 folds (fold seed 43)", "seeds 0, 1", "20 minutes a fold"),
        *("0.8200 ± 0.0213", "0.8123", "one model, 8 views", "mean of the seeds, 8 views", "fold 2"),
        *("network.width", "Two <cores>", "3.15.1", "2.0 min", "6 trainings"),
        *("0.0412", "1.31", "surer of itself", "0.8111", "−0.0012", "0.8199", "16 % of the patches"),
        *(
            "17.5 % of the 1\N{NO-BREAK SPACE}200 labelled pixels are wrong",
            "47.6 % of these are missed road",
            "37.0 % of all mistakes",
        ),
        *("20.0 % lie in suspected label errors", "5 to 10 %", "no. 1 in IoU", "no. 2 in wrong pixels"),
        *("99 px at 0, 4, 20, 30", "The first 1 of 30", "all 2 seeds are sure"),
    ):
        assert words in page.words, words
    assert "network.depth" not in page.words
    assert page.words.count("no picture") == 1 and page.tags.count("img") == 2
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags


def test_all_background_is_counted_from_the_records(tmp_path: Path) -> None:
    text = write_study_report(crossval_folder(tmp_path)).read_text(encoding="utf-8")
    row = re.search(r"<tr><th scope=.row.>all background</th>(.*?)</tr>", text)
    assert row
    cells = re.findall(r"<td>(.*?)</td>", row[1])
    # Folds are alike: 3 x 750 background pixels of 3 x (750 + 250); seed 1 is no other truth.
    assert cells[0].startswith("0.0000") and cells[2].startswith("0.7500 ± 0.0000") and cells[3].startswith("0.7500")


@pytest.mark.parametrize("absent", ["calibration.json", "mistakes.json", "mistakes"])
def test_what_a_folder_lacks_is_left_out(tmp_path: Path, absent: str) -> None:
    folder = crossval_folder(tmp_path / "cv")
    (folder / absent).rename(tmp_path / "away")
    words = page_of(folder).words
    assert ("Probabilities and thresholds" in words) == (absent != "calibration.json")
    assert ("Where it is wrong" in words) == ("Suspected" in words) == (absent != "mistakes.json")
    assert words.count("no picture") == {"mistakes": 3, "mistakes.json": 0}.get(absent, 1)


def test_several_classes_have_no_patches_and_no_thresholds(tmp_path: Path) -> None:
    folder = crossval_folder(tmp_path)
    content = crossval_content()
    for found in content["scores"].values():
        for table in (found["mean"], found["sd"], found["pooled"], *found["per_fold"]):
            table |= {key: None for key in table if key.startswith(("patch", "all_"))}
    for run in content["runs"]:
        for image in run["images"].values():
            image["pixels"] = [[3, 1, 1], [0, 4, 1], [1, 1, 5]]
    (folder / "crossval.json").write_text(json.dumps(content))
    empty = {"temperature": None, "ece_after": None, "reliability": None, "thresholds": None}
    (folder / "calibration.json").write_text(json.dumps(calibration_content() | empty))
    (folder / "mistakes.json").write_text(json.dumps({"version": 1, "classes": 3, "note": "several", "images": {}}))
    words = page_of(folder).words
    assert "Patch" not in words and "all background" not in words and "Thresholds" not in words
    assert "0.0412" in words and "Pixel IoU" in words


def test_a_picture_cannot_be_taken_from_elsewhere(tmp_path: Path) -> None:
    folder = crossval_folder(tmp_path / "cv")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "secret.png")
    content = mistakes_content()
    content["worst"]["overlays"] = {"b": "../secret.png", "c": str(tmp_path / "secret.png")}
    content["label_errors"]["ranked"] = []
    (folder / "mistakes.json").write_text(json.dumps(content))
    page = page_of(folder)
    assert "img" not in page.tags and "no region is surely seen otherwise" in page.words


# === An ablation ===


def factor(name: str, mean: float | None, verdict: str | None, **more: Any) -> dict[str, Any]:
    m = 0.0 if mean is None else mean
    return {
        **{"name": name, "set": [f"loss.name='{name}'"], "folds": [0, 1], "per_fold": [m - 0.01, m + 0.01]},
        **{"mean": mean, "low": m - 0.004, "high": m + 0.004, "p": 0.01, "p_holm": 0.03, "verdict": verdict},
        **{"bootstrap": {"low": m - 0.003, "high": m + 0.005}, "more_runs": "6 more folds would tell"},
        "scores": {"pixel_f1": {"mean": 0.85 + m, "difference": m}, "pixel_iou": {"mean": 0.7, "difference": 0.0077}},
        "cost": {"seconds_per_epoch": 3.0, "image_s": 0.5, "parameters": 3000, "time_ratio": 1.5},
        **{"finished": 4, "wanted": 4, "failed": []},
        **more,
    }


def ablation_content() -> dict[str, Any]:
    nothing = {"p": None, "low": None, "high": None, "p_holm": None, "bootstrap": None, "more_runs": None}
    waiting = nothing | {"per_fold": [], "folds": [], "scores": {}, "cost": {}, "finished": 0}
    factors = [
        factor("leaky ReLU", -0.02, "hurts"),
        factor("waits & <waits>", None, None, **waiting, failed=["fold 0, seed 1: out of <memory>"]),
        factor("mild colours", 0.001, "cannot tell", low=None, high=None),
        factor("free angles", 0.03, "helps"),
    ]
    baseline = {
        **{"set": ["network.width=16"], "finished": 3, "wanted": 4, "failed": []},
        "scores": {"pixel_f1": {"mean": 0.8512, "sd": 0.02}, "pixel_iou": {"mean": 0.7, "sd": 0.01}},
        "cost": {"seconds_per_epoch": 2.0, "image_s": 0.25, "parameters": 1500},
    }
    screen = {
        **{"name": "screen", "folds": 5, "held_out_folds": [0, 1], "seeds": [0, 1], "length": "400 steps"},
        **{"fold_seed": 43, "baseline": baseline, "factors": factors},
    }
    confirm = screen | {"name": "confirm", "length": "20 minutes", "factors": [factor("free angles", 0.02, "helps")]}
    return {
        **{"version": 1, "kind": "ablation", "title": "What <helps>", "dataset": {"name": "towns", "pairs": 100}},
        **{"metric": "pixel_f1", "fold_seed": 43, "command": "roadseg ablate towns s.toml --out o"},
        **{"not_used": ["gone"], "machine": {"processor": "P"}, "machines": ["P, 2 cores", "Q, 8 cores"]},
        **{"versions": {"keras": "3"}, "stages": [copy.deepcopy(screen), confirm]},
    }


def ablation_folder(folder: Path, content: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "ablation.json").write_text(json.dumps(content if content is not None else ablation_content()))
    return folder


def test_the_page_of_an_ablation_says_all_of_it(tmp_path: Path) -> None:
    page = page_of(ablation_folder(tmp_path))
    for words in (
        *("What <helps>", "primary score, declared beforehand: Pixel F1", "folds 0, 1 of 5", "400 steps", "20 minutes"),
        *("leaky ReLU", "−0.0200", "[−0.0240, −0.0160]", "loss.name='free angles'", "6 more folds would tell"),
        *("0.8512", "network.width=16", "3 of 4 runs finished", "0 of 4", "out of <memory>", "× 1.50", "× 2.00"),
        *("+0.0077", "Nadeau and Bengio 2003", "Holm", "roadseg ablate towns", "gone", "Q, 8 cores"),
    ):
        assert words in page.words, words
    assert page.words.index("Confirmation") < page.words.index("Screening") < page.words.index("believe the confirm")
    assert "script" not in page.tags and not page.addresses
    answer = page.words[: page.words.index("Screening")]
    assert "helps: free angles" in answer and "hurts" not in answer.split("Confirmation")[0]


def test_factors_are_sorted_by_their_mean_and_told_in_words(tmp_path: Path) -> None:
    text = write_study_report(ablation_folder(tmp_path)).read_text(encoding="utf-8")
    plot = re.findall(r"<svg viewBox=\"0 0 1080.*?</svg>", text)[1]
    names = re.findall(r'class="name right"[^>]*><title>[^<]*</title>([^<]*)<', plot)
    assert names == ["free angles", "mild colours", "leaky ReLU", "waits &amp; &lt;waits&gt;"]
    said = re.findall(r'class="said"[^>]*>([^<]*)<', plot)
    assert said == ["helps", "cannot tell", "hurts"]
    assert "0 of 4 runs finished." in plot
    assert plot.count("one fold:") == 6


def test_a_single_stage_is_no_screening_to_be_doubted(tmp_path: Path) -> None:
    content = ablation_content()
    content["stages"] = content["stages"][:1]
    content["stages"][0]["factors"][0]["finished"] = 3
    assert "leaky ReLU (3 of 4 runs finished)" in page_of(ablation_folder(tmp_path, content)).words
    assert "believe the confirmation" not in page_of(ablation_folder(tmp_path, content)).words
    content["stages"][0]["factors"] = []
    assert "Nothing is finished yet" in page_of(ablation_folder(tmp_path, content)).words


# === Both ===


def paths(table: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value below a table."""
    found = []
    items = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, value in items:
        found += [(*at, key), *paths(value, (*at, key))]
    return found


CONTENTS = {"ablation": ablation_content(), "crossval": crossval_content()}
BESIDE = {"calibration": calibration_content(), "mistakes": mistakes_content()}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_null_leaves_a_page(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("study")
    kind = data.draw(st.sampled_from(sorted(CONTENTS)))
    files = copy.deepcopy({kind: CONTENTS[kind], **(BESIDE if kind == "crossval" else {})})
    at = data.draw(st.sampled_from(paths(files)).filter(lambda at: len(at) > 1 and at[-1] != "version"))
    table: Any = files
    for key in at[:-1]:
        table = table[key]
    table[at[-1]] = None
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    page_of(folder)


def test_folders_and_files_that_are_not_a_study_are_named(tmp_path: Path) -> None:
    assert not is_study(tmp_path)
    with pytest.raises(RunError, match=r"neither crossval\.json nor ablation\.json"):
        write_study_report(tmp_path)
    for text, words in (("{", "damaged"), ("[]", "expected a JSON object"), ('{"version": 7}', "version 7")):
        (tmp_path / "ablation.json").write_text(text)
        with pytest.raises(RunError, match=rf"ablation\.json' is .*{words}"):
            write_study_report(tmp_path)
    (tmp_path / "ablation.json").unlink()
    folder = crossval_folder(tmp_path / "cv")
    (folder / "mistakes.json").write_text('{"worst":')
    with pytest.raises(RunError, match=r"mistakes\.json' is damaged"):
        write_study_report(folder)
    content = crossval_content()
    content["scores"]["single"]["per_fold"][0]["fold"] = "first"
    (folder / "mistakes.json").unlink()
    (folder / "crossval.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="damaged"):
        write_study_report(folder)


def test_the_command_writes_the_report_of_any_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "history.csv").write_text("epoch,loss\n1,0.5\n")
    for folder in (crossval_folder(tmp_path / "cv"), ablation_folder(tmp_path / "ab"), run):
        answer = call(capsys, "report", folder)
        assert answer.code == 0 and str(folder / "report.html") in answer.out
        assert (folder / "report.html").is_file()
    answer = call(capsys, "report", tmp_path)
    assert answer.code == 2 and "has none of" in answer.err


def test_a_report_needs_no_heavy_package(tmp_path: Path) -> None:
    crossval_folder(tmp_path / "cv")
    code = "import sys; from roadseg.commands import main; assert main(['report', sys.argv[1]]) == 0; "
    code += "print([name for name in ('keras', 'cv2', 'scipy', 'rasterio', 'distributed') if name in sys.modules])"
    done = python("-c", code, str(tmp_path / "cv"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]")


# === Charts ===

NUMBERS = st.one_of(st.floats(-1, 1), st.just(math.nan), st.sampled_from([0.0, 1e-12, 1e6]))
ENDS = st.tuples(NUMBERS, st.one_of(NUMBERS, st.just(math.inf))).filter(lambda ends: not ends[0] > ends[1])


def inside(drawing: str) -> bool:
    """Whether all marks of a chart lie in its picture."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)" role', drawing)
    assert box
    wide, high = float(box[1]), float(box[2])
    body = drawing[box.end() :]
    xs = [float(x) for x in re.findall(r' (?:x|cx|x1|x2)="([-\d.infa]+)"', body)]
    ys = [float(y) for y in re.findall(r' (?:y|cy|y1|y2)="([-\d.infa]+)"', body)]
    assert all(map(math.isfinite, xs + ys))
    return all(0 <= x <= wide for x in xs) and all(0 <= y <= high for y in ys)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(NUMBERS, ENDS, ENDS, st.lists(NUMBERS, max_size=4)), min_size=1, max_size=5))
def test_forest_plots_keep_every_difference_inside(rows: list[Any]) -> None:
    made = [Difference("x" * 70, mean, ends, boot, folds, "helps") for mean, ends, boot, folds in rows]
    drawing = forest_plot("<t>", made)
    Page(drawing)
    assert inside(drawing)


def test_an_interval_that_is_far_too_wide_is_cut_with_an_arrow() -> None:
    near, far = Difference("a", 0.01, (0.0, 0.02)), Difference("b", 0.01, (-math.inf, 5.0))
    assert forest_plot("t", [near]).count('<polygon class="bar') == 0
    assert forest_plot("t", [far]).count('<polygon class="bar') == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, st.lists(NUMBERS, max_size=2)), min_size=1, max_size=6))
def test_dot_charts_keep_every_score_inside(rows: list[Any]) -> None:
    series = {"one & only": [row[0] for row in rows], "two": [row[1] for row in rows]}
    names = [f"fold <{k}>" for k in range(len(rows))]
    drawing = dot_chart("t", names, series, singles=[r[3] for r in rows], levels=[r[2] for r in rows], level_name="l")
    Page(drawing)
    assert not drawing or inside(drawing)
    finite = sum(math.isfinite(v) for row in rows for v in row[:2])
    assert drawing.count(", one &amp; only: ") + drawing.count(", two: ") == finite


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=12))
def test_bars_stand_on_zero_and_stay_inside(values: list[float]) -> None:
    drawing = bar_chart("t", [Bar(f"<{k}", value) for k, value in enumerate(values)], [(0.5, "<below>")])
    Page(drawing)
    finite = [value for value in values if math.isfinite(value)]
    assert drawing.count("<rect") == len(finite)
    assert not drawing or inside(drawing)


def test_reliability_is_drawn_where_there_are_pixels() -> None:
    bins = calibration_content()["reliability"]
    drawing = reliability_diagram(bins)
    assert inside(drawing) and drawing.count("<circle") == 14 and drawing.count("<rect") == 14
    assert reliability_diagram([]) == "" == reliability_diagram([{"low": 0, "high": 1, "pixels": 0}])
