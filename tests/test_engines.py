"""Prediction engines: conversions, precisions, the choice between them, the cache, and what must never be loaded."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import call, files_in, python, scenes, shared_run
from PIL import Image

import roadseg
from roadseg.errors import BackendError, ConfigError, DataError, ModelError, RoadsegWarning
from roadseg.inference import cache as cache_module
from roadseg.inference import choice
from roadseg.inference import int8 as int8_module
from roadseg.inference.cache import EngineCache, cache_folder, open_cache
from roadseg.inference.choice import AutoEngine, agree, build
from roadseg.inference.engine import engine_name, open_engine, reasons
from roadseg.inference.int8 import calibration_windows, open_int8
from roadseg.inference.predictor import load_predictor
from roadseg.learning.runs import ModelInfo, load_model, read_info, save_model

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnxruntime", "tf2onnx", "tensorflow"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="onnxruntime, tf2onnx or tensorflow is not installed")
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed")

# fmt: off
ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "linear",
    "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax",
    "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink",
)
# fmt: on
VARIANTS = {
    "default": {},
    "without a stem": {"stem": "none"},
    "strided stem": {"stem": "strided", "head_width": 4},
    "deep": {"depth": 4, "width": 2, "stem": "none"},
    "group, nearest, 4 classes": {"normalization": "group", "upsampling": "nearest", "classes": 4, "width": 8},
    "layer, bilinear, head": {"normalization": "layer", "upsampling": "bilinear", "head_width": 4, "stem": "none"},
    "none, leaky, dropout, 5 bands": {
        "normalization": "none",
        "activation": "leaky_relu",
        "dropout": 0.1,
        "bands": 5,
        "mean": [90, 100, 110, 120, 130],
        "std": [40, 50, 60, 70, 80],
    },
    "residual, attention, channel dropout": {
        "block": "residual",
        "attention": True,
        "dropout": 0.1,
        "dropout_kind": "channel",
    },
    "separable, dilations, standardised kernels": {"separable": True, "dilations": [1, 2], "normalization": "weight"},
    "encoder": {"encoder": "MobileNetV3Small", "depth": 3},
    "every activation": {},
}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def with_every_activation():
    """A network with one convolution for each activation."""
    import keras

    pixels = keras.Input((None, None, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    parts = [keras.layers.Activation(a)(keras.layers.Conv2D(2, 3, padding="same")(x)) for a in ACTIVATIONS]
    joined = keras.layers.BatchNormalization()(keras.layers.Concatenate()(parts))
    return keras.Model(pixels, keras.layers.Conv2D(1, 1, activation="sigmoid")(joined))


def trained_ish(model):
    """Random weights everywhere, also where a fresh network has zeros and ones."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        name, shape = weight.name, weight.shape
        if name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif name in ("beta", "bias", "moving_mean"):
            weight.assign(rng.normal(0, 0.2, shape))
    return model


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Keras files of every variant and their OpenVINO models, converted in one process."""
    from roadseg.networks import encoder_unet, plain_copy, unet

    folder = tmp_path_factory.mktemp("variants")
    made = {}
    for k, (name, options) in enumerate(VARIANTS.items()):
        if name == "every activation":
            network = with_every_activation()
        else:
            build = encoder_unet if "encoder" in options else unet
            network = build(**({"width": 4, "depth": 2} | options))
        path = folder / f"{k}.keras"
        save_model(trained_ish(plain_copy(network)), path, ModelInfo(bands=options.get("bands", 3)))
        made[name] = path
    code = "import sys\nfrom roadseg.inference.convert import main\n"
    code += "for p in sys.argv[1:]: assert main(['openvino', p, p.replace('.keras', '.xml')]) == 0, p"
    done = python("-c", code, *map(str, made.values()), KERAS_BACKEND="openvino", KERAS_HOME=str(folder))
    assert done.returncode == 0, done.stderr
    for path in made.values():  # what the commands and `load` would make, one process each
        open_cache(read_info(path).hash).keep("model.xml", lambda target, path=path: copy_model(path, target))
    return made


def copy_model(path, target):
    for suffix in (".xml", ".bin"):
        shutil.copy(path.with_suffix(suffix), target.with_suffix(suffix))


@pytest.fixture(scope="module")
def model(variants):
    """The plain tiny U-Net's file."""
    return variants["default"]


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv("ROADSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- conversions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_of_the_network_gives_keras_own_answer_on_openvino(variants, name):
    from roadseg.inference.openvino_engine import OpenVINOEngine

    path = variants[name]
    bands = VARIANTS[name].get("bands", 3)
    exact, found = load_model(path), OpenVINOEngine(path.with_suffix(".xml"), "f32")
    for shape in ((2, 64, 32), (1, 32, 96), (3, 96, 64)):
        batch = noise(*shape, bands, seed=shape[0])
        answer = found(batch)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, np.asarray(exact(batch, training=False)), atol=2e-5)


def test_no_transposition_is_left_between_the_convolutions(variants):
    from roadseg.inference._openvino import load_core

    for name in ("default", "without a stem", "deep", "none, leaky, dropout, 5 bands"):
        graph = load_core().read_model(variants[name].with_suffix(".xml"))
        kinds = [node.get_type_name() for node in graph.get_ordered_ops()]
        assert kinds.count("Convolution") > 8 and kinds.count("Transpose") <= 2, name


def test_bfloat16_differs_less_than_the_choice_allows(model):
    cache, batch = open_cache(read_info(model).hash), noise(2, 64, 64, 3)
    exact, fast = build("openvino f32", model, cache), build("openvino bf16", model, cache)
    same, mean, high = agree(fast(batch), exact(batch))
    assert same and 0 <= mean <= high
    assert (exact.name, fast.name) == ("openvino f32", "openvino bf16")


@needs_onnx
def test_onnx_runtime_gives_keras_own_answer(model):
    exact, found = load_model(model), open_engine(model, "onnx")
    assert engine_name(found) == "onnx"
    for shape in ((2, 64, 32, 3), (1, 32, 96, 3)):
        batch = noise(*shape)
        np.testing.assert_allclose(found(batch), np.asarray(exact(batch, training=False)), atol=2e-5)


def test_a_model_that_openvino_cannot_take_is_named(tmp_path, own_folder, monkeypatch):
    import keras

    pixels = keras.Input((None, None, 3), dtype="uint8")
    odd = keras.layers.RandomGrayscale()(keras.layers.Rescaling(1 / 255)(pixels))
    network = keras.Model(pixels, keras.layers.Conv2D(1, 1)(odd))
    save_model(network, tmp_path / "odd.keras", ModelInfo())
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *more: None if n == "tensorflow" else find(n, *more))
    monkeypatch.setattr("roadseg.inference.convert.run_module", lambda *a, **k: "ValueError: no such layer")
    with pytest.raises(ModelError, match=r"odd\.keras' cannot be converted for OpenVINO \(ValueError.*--engine keras"):
        load_predictor(tmp_path / "odd.keras", engine="openvino")


# --- the choice -------------------------------------------------------------------------------------------------------


class Fake:
    """An engine that takes the time it is told on a clock of the test's own."""

    def __init__(self, clock, name, seconds, off=0.0, error=None):
        self.clock, self.name, self.seconds, self.off, self.error, self.calls = clock, name, seconds, off, error, 0

    def __call__(self, batch):
        self.calls += 1
        if self.error:
            raise self.error
        self.clock[0] += self.seconds
        return np.full((*batch.shape[:3], 1), 0.5 + self.off, np.float32)


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """Put made-up engines in the places of the real ones: `fakes(name=(seconds, off, error), ...)`."""
    clock = [0.0]
    monkeypatch.setattr(choice.time, "perf_counter", lambda: clock[0])

    def place(**engines):
        made = {name.replace("_", " "): Fake(clock, name.replace("_", " "), *rest) for name, rest in engines.items()}
        monkeypatch.setattr(choice, "candidates", lambda kind: list(made))
        monkeypatch.setattr(choice, "build", lambda name, path, cache, *_: made[name])
        return made

    return place


def test_the_fastest_that_agrees_is_kept_and_remembered(fakes, tmp_path):
    made = fakes(openvino_bf16=(1.0, 0.001), openvino_f32=(3.0,), onnx=(0.5, 0.3), keras=(2.0,))
    cache = EngineCache(tmp_path)
    told = []
    engine = AutoEngine(Path("m.keras"), cache, tell=told.append)
    assert engine.name == "auto" and not told
    engine(noise(4, 8, 8, 3))
    assert engine.name == "openvino bf16" and engine.setup_seconds > 0
    assert len(told) == 1 and "onnx" in told[0]

    (record,) = json.loads((tmp_path / "choice.json").read_text()).values()
    assert (record["engine"], record["reference"], record["windows"]) == ("openvino bf16", "keras", [2, 8, 8, 3])
    by_name = {entry["engine"]: entry for entry in record["candidates"]}
    assert not by_name["onnx"]["agrees"] and by_name["onnx"]["mean_difference"] == pytest.approx(0.3)
    assert by_name["openvino bf16"]["seconds"] == pytest.approx(1.0)
    assert record["machine"]["cores"] >= 1

    before = {name: fake.calls for name, fake in made.items()}
    again = AutoEngine(Path("m.keras"), cache, tell=told.append)
    again(noise(4, 8, 8, 3))
    assert again.name == "openvino bf16" and again.setup_seconds == 0 and len(told) == 1
    assert {name: fake.calls - before[name] for name, fake in made.items() if fake.calls != before[name]} == {
        "openvino bf16": 1
    }


def test_an_engine_that_fails_is_left_out_with_the_reason(fakes, tmp_path):
    fakes(openvino_bf16=(0.1, 0, ValueError("no such instruction")), openvino_f32=(3.0,), keras=(5.0,))
    engine = AutoEngine(Path("m.keras"), EngineCache(tmp_path))
    engine(noise(1, 8, 8, 3))
    assert engine.name == "openvino f32"
    (record,) = json.loads((tmp_path / "choice.json").read_text()).values()
    assert "no such instruction" in record["candidates"][0]["error"]


def test_keras_has_to_win_clearly_because_it_starts_slowly(fakes, tmp_path):
    for seconds, chosen in ((0.95, "openvino f32"), (0.5, "keras")):
        fakes(openvino_f32=(1.0,), keras=(seconds,))
        engine = AutoEngine(Path("m.keras"), EngineCache(tmp_path / chosen))
        engine(noise(1, 8, 8, 3))
        assert engine.name == chosen


def test_when_all_fail_the_first_reason_is_told(fakes, tmp_path):
    fakes(openvino_f32=(1.0, 0, BackendError("out of memory with 1 windows")), keras=(1.0, 0, ValueError("x")))
    with pytest.raises(BackendError, match="out of memory"):
        AutoEngine(Path("m.keras"), EngineCache(tmp_path))(noise(1, 8, 8, 3))


def test_a_remembered_engine_that_fails_is_chosen_anew(fakes, tmp_path):
    cache = EngineCache(tmp_path)
    made = fakes(openvino_f32=(1.0,), keras=(3.0,))
    AutoEngine(Path("m.keras"), cache)(noise(1, 8, 8, 3))
    made["openvino f32"].error = BackendError("gone")
    engine = AutoEngine(Path("m.keras"), cache)
    engine(noise(1, 8, 8, 3))
    assert engine.name == "keras"


def test_another_machine_or_version_chooses_for_itself(fakes, tmp_path, monkeypatch):
    fakes(openvino_f32=(1.0,), keras=(3.0,))
    cache = EngineCache(tmp_path)
    AutoEngine(Path("m.keras"), cache)(noise(1, 8, 8, 3))
    monkeypatch.setattr(choice, "describe_machine", lambda: {"processor": "another", "cores": 64})
    other = AutoEngine(Path("m.keras"), cache)
    assert other.name == "auto"
    other(noise(1, 8, 8, 3))
    assert len(json.loads((tmp_path / "choice.json").read_text())) == 2


def test_openvino_chooses_between_its_precisions(model):
    engine = open_engine(model, "openvino")
    found = engine(noise(2, 32, 32, 3))
    assert engine_name(engine) in ("openvino bf16", "openvino f32")
    assert agree(found, np.asarray(load_model(model)(noise(2, 32, 32, 3))))[0]


# --- the cache --------------------------------------------------------------------------------------------------------


def make_two(target):
    target.write_text("graph")
    target.with_suffix(".bin").write_text("weights")


def test_what_is_damaged_is_made_again(tmp_path):
    cache = EngineCache(tmp_path)
    calls = []

    def make(target):
        calls.append(target.name)
        make_two(target)

    path = cache.keep("model.xml", make)
    assert path.read_text() == "graph" and cache.keep("model.xml", make) == path and len(calls) == 1
    for k, damage in enumerate(
        (
            lambda: (tmp_path / "model.bin").write_text("weig"),
            lambda: (tmp_path / "model.xml").unlink(),
            lambda: (tmp_path / "model.xml.json").write_text("{"),
            lambda: (tmp_path / "model.xml.json").write_text("[1]"),
        ),
        start=2,
    ):
        damage()
        assert cache.keep("model.xml", make).read_text() == "graph" and len(calls) == k
        assert (tmp_path / "model.bin").read_text() == "weights"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".new-")]


def test_a_failed_conversion_leaves_nothing(tmp_path):
    def fail(target):
        target.write_text("half")
        raise ModelError("no such layer")

    with pytest.raises(ModelError, match="no such layer"):
        EngineCache(tmp_path).keep("model.xml", fail)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROADSEG_CACHE", str(tmp_path / "file"))
    with pytest.warns(RoadsegWarning, match="ROADSEG_CACHE"):
        cache = open_cache("abc")
    assert cache.keep("model.xml", make_two).read_text() == "graph"
    cache.write_choice("auto", {"engine": "keras"})
    assert cache.read_choice("auto") == {"engine": "keras"}


def test_a_full_disk_is_done_without(tmp_path, monkeypatch):
    cache = EngineCache(tmp_path)
    full = lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # noqa: E731
    monkeypatch.setattr(cache, "_is_whole", lambda name: False)
    monkeypatch.setattr(cache_module, "write_json", lambda *a: full() if tmp_path in a[0].parents else None)
    with pytest.warns(RoadsegWarning, match="No space left"):
        assert cache.keep("model.xml", make_two).read_text() == "graph"


def test_damaged_choices_are_chosen_anew(tmp_path):
    cache = EngineCache(tmp_path)
    for text in ("", "[]", '{"auto": 3}', "\x00"):
        (tmp_path / "choice.json").write_text(text)
        assert cache.read_choice("auto") == {}


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ROADSEG_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ROADSEG_CACHE")
    assert cache_folder().name.lower() in ("roadseg", "cache") and cache_folder().is_absolute()


def test_a_truncated_model_is_converted_again(model, own_folder, monkeypatch):
    monkeypatch.setattr(cache_module, "convert", copy_model)
    cache = open_cache(read_info(model).hash)
    path = cache.openvino(model)
    weights = path.with_suffix(".bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    build("openvino f32", model, open_cache(read_info(model).hash))(noise(1, 32, 32, 3))
    assert weights.read_bytes() == whole


def test_two_processes_at_once_both_get_a_whole_model(tmp_path):
    """One writes its files while the other is still making its own."""
    cache, other = EngineCache(tmp_path), EngineCache(tmp_path)

    def make(target):
        assert other.keep("model.xml", make_two).read_text() == "graph"
        make_two(target)

    assert cache.keep("model.xml", make).read_text() == "graph"
    assert (tmp_path / "model.bin").read_text() == "weights"


def test_a_damaged_compiled_model_is_compiled_again(model, own_folder, monkeypatch):
    monkeypatch.setattr(cache_module, "convert", copy_model)
    cache = open_cache(read_info(model).hash)
    found = build("openvino f32", model, cache)(noise(1, 32, 32, 3))
    blobs = [p for p in cache.compiled.rglob("*") if p.is_file()]
    assert blobs
    for blob in blobs:
        blob.write_bytes(blob.read_bytes()[:1000])
    np.testing.assert_array_equal(build("openvino f32", model, cache)(noise(1, 32, 32, 3)), found)


# --- 8 bits -----------------------------------------------------------------------------------------------------------


def test_calibration_windows_are_spread_and_the_same_each_time():
    images = [noise(300, 400, 3, seed=k) for k in range(3)]
    windows = calibration_windows(images, ModelInfo())
    assert windows.shape == (int8_module.WINDOWS, 256, 256, 3) and windows.dtype == np.uint8
    np.testing.assert_array_equal(windows, calibration_windows(iter(images), ModelInfo()))
    assert len({w.tobytes() for w in windows}) == int8_module.WINDOWS
    many = [np.full((300, 300, 3), k % 256, np.uint8) for k in range(200)]
    assert len(np.unique(calibration_windows(many, ModelInfo())[:, 0, 0, 0])) == 64


def test_an_image_smaller_than_a_window_is_one_reflected_window():
    windows = calibration_windows([noise(50, 60, 3)], ModelInfo(multiple=512))
    assert windows.shape == (1, 512, 512, 3)
    np.testing.assert_array_equal(windows[0, :50, 60:120], windows[0, :50, 59::-1])


def test_images_that_do_not_fit_are_named():
    with pytest.raises(ModelError, match=r"\(height, width, 3\) of uint8"):
        calibration_windows([noise(50, 60, 4)], ModelInfo())
    with pytest.raises(ConfigError, match="at least one image"):
        calibration_windows([], ModelInfo())


def test_a_damaged_image_does_not_calibrate(tmp_path):
    Image.fromarray(noise(300, 300, 3)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    files = int8_module.ImageFiles([tmp_path / "a.png", tmp_path / "b.png"], ModelInfo())
    assert len(calibration_windows(files, ModelInfo())) == 32
    with pytest.raises(DataError, match=r"b\.png"):
        calibration_windows(int8_module.ImageFiles([tmp_path / "b.png"], ModelInfo()), ModelInfo())


def test_8_bits_need_openvino_and_images(model):
    for engine in ("keras", "onnx"):
        with pytest.raises(ConfigError, match=f"--int8 with --engine {engine}"):
            load_predictor(model, engine=engine, int8=True, calibrate=[noise(64, 64, 3)])
    with pytest.raises(ConfigError, match="calibrate="):
        roadseg.load(model, int8=True)


def test_8_bits_without_nncf_name_the_extra(model, own_folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *more: None if n == "nncf" else find(n, *more))
    with pytest.raises(BackendError, match=r"roadseg\[int8\]"):
        open_int8(model, read_info(model), [noise(64, 64, 3)])


@needs_nncf
def test_8_bits_are_quantised_once_and_say_what_they_change(model, monkeypatch):
    monkeypatch.setattr(int8_module, "WINDOWS", 8)
    info, images = read_info(model), [noise(300, 280, 3, seed=k) for k in range(2)]
    engine = open_int8(model, info, images)
    assert engine.name == "openvino int8" and engine.report["windows"] == 4
    assert 0.5 < engine.report["mask_iou"] < 1 and 0 < engine.report["mean_difference"] < 0.1
    assert "IoU with the float32 masks" in int8_module.describe(engine.report)
    found = engine(noise(3, 64, 32, 3))
    assert found.shape == (3, 64, 32, 1) and found.dtype == np.float32

    def never(*words, **more):
        raise AssertionError(words)

    monkeypatch.setattr(int8_module, "run_module", never)
    monkeypatch.setattr("roadseg.inference.convert.run_module", never)
    again = open_int8(model, info, images)
    assert again.report == engine.report
    np.testing.assert_array_equal(again(noise(3, 64, 32, 3)), found)
    other = open_int8(model, replace(info, threshold=0.3), images)
    assert other.report["threshold"] == 0.3
    with pytest.raises(AssertionError):
        open_int8(model, info, images[:1])


@needs_nncf
def test_several_classes_in_8_bits_are_compared_by_class(variants):
    path = variants["group, nearest, 4 classes"]
    info = replace(read_info(path), classes=("a", "b", "c", "d"))
    report = open_int8(path, info, [noise(40, 40, 3)]).report
    assert 0.5 < report["equal_pixels"] <= 1 and "mask_iou" not in report
    assert "get the same class" in int8_module.describe(report)


# --- commands ---------------------------------------------------------------------------------------------------------


@needs_nncf
def test_8_bits_on_the_command_line_are_told_and_recorded(tmp_path_factory, tmp_path, capsys, monkeypatch):
    dataset, run = shared_run(tmp_path_factory)
    monkeypatch.setattr(int8_module, "WINDOWS", 12)
    words = ["predict", run, dataset / "images", "--out", tmp_path / "out", "--int8", "--threshold", 0.4]
    answer = call(capsys, *words)
    assert answer.code == 0 and "IoU with the float32 masks" in answer.out, answer.err
    assert "openvino int8" in answer.out.splitlines()[-1]
    options = json.loads((tmp_path / "out" / "predict.json").read_text())["options"]
    assert options["engine"] == "openvino int8" and 0 <= options["int8"]["mask_iou"] <= 1

    words = ["evaluate", run, dataset, "--all", "--threshold", 0.4]
    found = json.loads(call(capsys, *words, "--int8", "--json").out)
    assert found["engine"] == "openvino int8" and found["float32"]["engine"] == "openvino f32"
    exact = json.loads(call(capsys, *words, "--json").out)
    assert exact["engine"] == "keras" and "float32" not in exact
    assert found["float32"]["pixel_iou"] == pytest.approx(exact["pixel_iou"], abs=1e-3)
    assert found["change"]["pixel_iou"] == pytest.approx(found["pixel_iou"] - found["float32"]["pixel_iou"])
    assert set(found["change"]) == {"pixel_iou", "pixel_f1", "patch_accuracy"}
    shown = call(capsys, *words, "--int8").out
    assert "in float32" in shown and "8 bits change pixel iou" in shown

    refused = call(capsys, "predict", run, dataset / "images", "--out", tmp_path / "no", "--int8", "--engine", "onnx")
    assert refused.code == 2 and "--int8 with --engine onnx" in refused.err


def test_without_onnx_runtime_the_extra_is_named(model, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *more: None if n == "onnxruntime" else find(n, *more))
    with pytest.raises(BackendError, match=r"onnxruntime not installed.*roadseg\[onnx,cpu\]"):
        open_engine(model, "onnx")


def test_tta_works_on_every_engine(model):
    image = noise(40, 50, 3)
    exact = load_predictor(model, engine="keras", tta=True).probabilities(image)
    found = load_predictor(model, engine="openvino", tta=True).probabilities(image)
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_running_out_of_memory_in_a_library_says_what_to_make_smaller():
    for text in ("std::bad_alloc", "Failed to allocate memory for requested buffer", "bad allocation"):
        with pytest.raises(BackendError, match=r"2 windows of 32x16.*--batch"), reasons((2, 16, 32, 3), "OpenVINO"):
            raise RuntimeError(text)
    saying = pytest.raises(BackendError, match=r"OpenVINO cannot compute.*shapes.*another --engine")
    with saying, reasons((2, 16, 32, 3), "OpenVINO"):
        raise RuntimeError("Exception from somewhere\nshapes do not fit\n")


# --- what is not loaded, and not sent ---------------------------------------------------------------------------------

PREDICT = """
import json, sys
from roadseg.commands import main
code = main(sys.argv[1:])
names = ("keras", "tensorflow", "jax", "torch", "cv2", "nncf", "onnxruntime", "openvino_telemetry")
print(json.dumps([code, sorted(n for n in sys.modules if n.split(".")[0] in names and sys.modules[n] is not None)]))
"""


def test_a_prediction_with_a_remembered_choice_loads_no_framework(tmp_path, model):
    Image.fromarray(noise(60, 70, 3)).save(tmp_path / "a.png")
    cache = open_cache(read_info(model).hash)
    cache.write_choice(f"auto {choice._machine_key()}", {"engine": "openvino f32"})
    done = python("-c", PREDICT, "predict", str(model), str(tmp_path / "a.png"), "--out", str(tmp_path / "out"))
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []], done
    assert json.loads((tmp_path / "out" / "predict.json").read_text())["options"]["engine"] == "openvino f32"


def test_without_any_framework_openvino_predicts(tmp_path, model):
    Image.fromarray(noise(60, 70, 3)).save(tmp_path / "a.png")
    hide = "import importlib.util\nfind = importlib.util.find_spec\n"
    hide += "hidden = ('tensorflow', 'jax', 'torch', 'onnxruntime')\n"
    hide += "importlib.util.find_spec = lambda name, *more: None if name in hidden else find(name, *more)\n"
    words = ["predict", str(model), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    done = python("-c", hide + PREDICT, *words, ROADSEG_CACHE=str(tmp_path / "cache"))
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []], done
    assert json.loads((tmp_path / "out" / "predict.json").read_text())["options"]["engine"].startswith("openvino")


@needs_nncf
def test_nothing_is_sent_and_nothing_written_to_the_home(tmp_path, model):
    (tmp_path / "home").mkdir()
    images = scenes(tmp_path / "data", 1)
    words = ["predict", str(model), str(images / "images"), "--out", str(tmp_path / "out"), "--int8"]
    own = {"HOME": str(tmp_path / "home"), "ROADSEG_CACHE": str(tmp_path / "cache")}
    done = python("-c", PREDICT, *words, **own)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []], done
    code = (
        "from roadseg.inference._openvino import silence_telemetry\nsilence_telemetry()\nimport nncf, openvino, sys\n"
    )
    code += "print([n for n in sys.modules if n.split('.')[0] == 'openvino_telemetry' and sys.modules[n] is not None])"
    done = python("-c", code, **own)
    assert done.stdout.splitlines()[-1:] == ["[]"], done
    assert not files_in(tmp_path / "home")
