"""`roadseg bench`: what is counted, what is measured, what is printed. Nothing here depends on how fast it is."""

import json
import math
import os
import sys
from importlib.util import find_spec

import msgspec
import pytest
from helpers import call

from roadseg.backend import choose_backend
from roadseg.bench import measure
from roadseg.bench.machine_rate import present_frameworks
from roadseg.bench.measure import ENGINES, WHATS
from roadseg.bench.memory import run_watched, tree_memory_mb
from roadseg.bench.parts import measure_part
from roadseg.bench.workload import Workload

TINY = Workload(width=4, depth=2, batch=2, size=32, seconds=0.1, precision="float32", image=96)


def positive(*values: object) -> bool:
    return all(isinstance(v, (int, float)) and math.isfinite(v) and v > 0 for v in values)


# === Counting ===


def test_flop_of_a_small_unet_are_those_counted_by_hand():
    from roadseg.bench.flop import forward_flop
    from roadseg.networks import unet

    model = unet(width=4, depth=1, stem="none")
    full, half = 16 * 16, 8 * 8
    multiplications = (
        full * 9 * (3 * 4 + 4 * 4)  # down
        + half * 9 * (4 * 8 + 8 * 8)  # bottom
        + half * 4 * 8 * 4  # transposed: each of the pixels that come in meets the whole 2x2 kernel
        + full * 9 * (8 * 4 + 4 * 4)  # up, the skip joined
        + full * 4 * 1  # the probability
    )
    assert forward_flop(model, 16) == 2 * multiplications
    assert forward_flop(model, 32) == 4 * forward_flop(model, 16)


def test_flop_of_the_classic_unet_are_the_published_ones():
    from roadseg.bench.flop import forward_flop
    from roadseg.networks import unet

    assert forward_flop(unet(width=32, depth=4, stem="none"), 256) / 1e9 == pytest.approx(24.14, abs=0.01)


def test_flop_are_counted_of_separable_and_dense_layers_and_of_no_others():
    import keras

    from roadseg.bench.flop import forward_flop

    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.SeparableConv2D(5, 3, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", strides=2)(x)
    x = keras.layers.Conv2D(10, 3, padding="same", groups=5)(x)
    x = keras.layers.Dense(2)(x)
    expected = 64 * (9 * 3 + 3 * 5) + 16 * 9 * 5 + 16 * 9 * 10 + 16 * 10 * 2
    assert forward_flop(keras.Model(inputs, x), 8) == 2 * expected


# === Memory ===

HOLD = "held = bytearray(b'x') * (80 << 20)"
CHILD = f"{HOLD}; print('ready', flush=True); input()"
PARENT = f"""
import subprocess, sys, time
{HOLD}
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
time.sleep(1)
child.communicate("enough")
"""


@pytest.mark.skipif(tree_memory_mb(os.getpid()) is None, reason="this system does not tell memory")
def test_peak_memory_counts_the_processes_that_a_process_starts():
    alone, peak_alone = run_watched([sys.executable, "-c", f"import time; {HOLD}; time.sleep(1)"])
    both, peak_both = run_watched([sys.executable, "-c", PARENT])
    assert alone.returncode == both.returncode == 0
    assert 80 < peak_alone < 160 < peak_both < 320


def test_a_watched_program_gives_back_what_it_said():
    done, _ = run_watched(
        [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"]
    )
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


# === The parts, in this process ===


def test_a_matrix_product_is_measured_in_both_precisions():
    framework = choose_backend()  # the others would share this process with it
    assert framework in present_frameworks()
    found = measure_part(f"matmul:{framework}", TINY, None)
    assert found["device"] in ("cpu", "gpu")
    for kind in ("float32", "bfloat16"):
        assert positive(found[kind]["gflop_s"]) and found[kind]["size"] in (512, 1024, 2048, 4096)


def test_memory_bandwidth_is_measured_by_copy_and_triad():
    found = measure_part("memory", TINY, None)
    assert positive(found["copy_gb_s"], found["triad_gb_s"], found["array_mb"], found["threads"])


@pytest.mark.slow
def test_the_step_and_the_whole_fit_are_measured_as_training_has_them(tmp_path):
    step = measure_part("step", TINY, tmp_path)
    assert positive(step["img_s"], step["step_ms"], step["first_step_s"], step["gflop_s"])
    assert step["precision"] == "float32" and step["steps"] >= 4
    # two figures that are rounded on their own: forward once, backward twice
    assert step["gflop_s"] == pytest.approx(3 * step["forward_gflop"] * step["img_s"], rel=0.2)
    fit = measure_part("fit", TINY, tmp_path)
    assert positive(fit["img_s"], fit["ratio"], fit["epoch_s"]) and fit["epochs"] >= 2
    assert {"Validation", "History", "Checkpoint", "TensorBoard", "Display"} <= set(fit["shares"])
    assert all(share >= 0 for share in fit["shares"].values()) and sum(fit["shares"].values()) < 1
    assert fit["data_wait"] is None or 0 <= fit["data_wait"] <= 1


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    assert measure_part("model", TINY, folder)["trained_steps"] >= 2
    return folder


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_measured_and_compared_with_keras(name, model_folder, monkeypatch):
    needs = {"onnx": ("onnxruntime", "tf2onnx", "tensorflow"), "openvino int8": ("openvino", "nncf")}
    lacking = [package for package in needs.get(name, name.split()[:1]) if find_spec(package) is None]
    if lacking:
        pytest.skip(f"{lacking[0]} is not installed")
    monkeypatch.setenv("ROADSEG_CACHE", str(model_folder / "cache"))
    try:
        found = measure_part(f"engine:{name}", TINY, model_folder)
    except Exception as error:
        if "does not compute in bfloat16" in str(error):
            pytest.skip(str(error))
        raise
    assert positive(found["img_s"], found["gflop_s"], found["open_s"]) and found["device"] in ("cpu", "gpu")
    limit = {"keras": 1e-5, "onnx": 1e-4, "openvino f32": 1e-4}.get(name, 0.2)
    assert 0 <= found["mean_difference"] <= limit


def test_the_predictor_counts_the_pixels_that_go_through_the_network(model_folder, monkeypatch):
    monkeypatch.setenv("ROADSEG_CACHE", str(model_folder / "cache"))
    found = measure_part("predictor:keras", TINY, model_folder)
    assert positive(found["network_mpx_s"], found["image_mpx_s"], found["ratio"])
    assert found["overlap_overhead"] >= 0 and 0 < found["share_in_engine"] <= 1
    more = found["network_mpx_s"] / found["image_mpx_s"] - 1
    assert more == pytest.approx(found["overlap_overhead"], rel=0.02, abs=0.01)


def test_an_engine_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(Exception, match="there is no model"):
        measure_part("engine:keras", TINY, tmp_path)


def test_a_part_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'tea'"):
        measure_part("tea", TINY, tmp_path)


# === The whole ===


RATES = {"float32": 200, "bfloat16": 800}


def fake_part(part, workload, folder):
    """What the processes of the parts would find."""
    name, _, detail = part.partition(":")
    if detail == "torch":
        return {"unavailable": "torch is broken here"}
    found = {
        "matmul": {"device": "cpu", **{kind: {"gflop_s": rate, "size": 4096} for kind, rate in RATES.items()}},
        "memory": {"copy_gb_s": 20.0, "triad_gb_s": 21.0},
        "step": {"device": "cpu", "img_s": 8.0, "gflop_s": 600.0, "step_ms": 500.0, "first_step_s": 7.0},
        "fit": {"device": "cpu", "img_s": 7.8, "ratio": 0.97, "data_wait": 0.01, "shares": {"Validation": 0.05}},
        "overheads": {"device": "cpu", "shares": {"average": 0.01}},
        "model": {"trained_steps": 3},
        "engine": {
            "device": "cpu", "gflop_s": 400.0, "mean_difference": 0.0, "high_difference": 0.0, "iou": 1.0,
            "img_s": {"keras": 20.0, "openvino bf16": 38.0, "openvino int8": 76.0}.get(detail, 10.0),
        },
        "predictor": {"network_mpx_s": 2.5, "image_mpx_s": 2.0, "ratio": 0.97, "overlap_overhead": 0.25},
    }  # fmt: skip
    return {**found[name], "peak_memory_mb": 1000.0}


def test_the_last_line_of_json_has_the_two_figures_of_the_contract(monkeypatch, capsys):
    monkeypatch.setattr(measure, "run_part", fake_part)
    answer = call(capsys, "bench", "train", "--json")
    assert answer.code == 0 and answer.out.count("\n") == 1
    found = json.loads(answer.out)
    assert found["train_img_s"] == 8.0
    assert found["infer_img_s"] == 38.0 and found["infer_engine"] == "openvino bf16"  # int8 is not floating point
    assert found["engines"]["keras"]["img_s"] == 20.0
    assert found["machine"]["matrix_gflop_s"] == {"cpu": 800} and found["step"]["share"] == 0.75
    assert found["workload"] == json.loads(msgspec.json.encode(Workload())) and "predictor" not in found


def test_the_table_names_every_part_and_what_could_not_be_measured(monkeypatch, capsys):
    monkeypatch.setattr(measure, "run_part", fake_part)
    monkeypatch.setattr(measure, "present_frameworks", lambda: ["tensorflow", "torch"])
    out = call(capsys, "bench", "all").out
    for part in (
        "matrix product, tensorflow",
        "memory",
        "step",
        "fit",
        "overheads",
        "predictor, openvino int8",
        *ENGINES,
    ):
        assert f"\n{part} " in out, part
    assert "not measured: torch is broken here" in out
    assert "75% of the matrix product" in out and "0.970 of the bare engine's speed" in out


@pytest.mark.parametrize("what", WHATS)
def test_each_kind_measures_its_own_parts(what, monkeypatch, capsys):
    monkeypatch.setattr(measure, "run_part", fake_part)
    found = json.loads(call(capsys, "bench", what, "--json").out)
    measured = {part for part in measure.PARTS if part in found and part != "machine"}
    measured |= {"machine"} if "matrix_product" in found["machine"] else set()
    assert measured == set(WHATS[what])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "tea"], "--only tea: choose from machine"),
        (["--size", "40"], "--size 40: this network takes multiples of 16 pixels"),
        (["--batch", "0"], "--batch 0"),
        (["--seconds", "0"], "--seconds 0"),
        (["--depth", "9"], "--depth 9"),
        (["--set", "network.stm=none"], "did you mean 'network.stem'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(words, says, capsys):
    answer = call(capsys, "bench", *words)
    assert answer.code == 2 and says in answer.err and not answer.out


def test_what_is_not_installed_is_said_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    found = measure.measure(TINY, ["step"])
    assert "KERAS_BACKEND=nonsense" in found["step"]["unavailable"] and found["train_img_s"] is None


@pytest.mark.slow
def test_a_part_measured_in_its_own_process_has_its_memory(capsys):
    small = ["--width", 4, "--depth", 2, "--size", 32, "--seconds", 0.2]
    answer = call(capsys, "bench", "train", "--json", "--only", "step", *small)
    found = json.loads(answer.out)
    assert positive(found["train_img_s"]) and found["step"]["img_s"] == found["train_img_s"]
    if tree_memory_mb(os.getpid()) is not None:
        assert 100 < found["step"]["peak_memory_mb"] < 4000
