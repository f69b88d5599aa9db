"""Exported models: what is in the files, that they answer as the model, that `predict` takes them, what is refused."""

import dataclasses
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import call, files_in, python, scenes, shared_run
from PIL import Image

import roadseg
from roadseg.errors import BackendError, ConfigError, ModelError, OutputError, RoadsegWarning
from roadseg.exports import export as export_module
from roadseg.exports.gis import cut_at_half, gis_metadata, wanted_resolution
from roadseg.exports.roundtrip import gis_engine
from roadseg.inference.from_onnx import cut_of
from roadseg.learning.exported import Export, read_export
from roadseg.learning.runs import ModelInfo, load_model, read_info, save_model

NEEDED = ("onnx", "onnxruntime", "tf2onnx", "tensorflow")
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED),
    reason=f"one of {', '.join(NEEDED)} is not installed",
)
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed")

Capture = pytest.CaptureFixture[str]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def network(path: Path, threshold: float | None = None, seen: np.ndarray | None = None, **options: Any) -> Path:
    """A tiny network with random weights; unless given its threshold is the median of what it answers to `seen`."""
    from roadseg.networks import plain_copy, unet

    model = plain_copy(unet(**({"width": 4, "depth": 2} | options)))
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("beta", "bias", "moving_mean"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    bands, classes = options.get("bands", 3), options.get("classes", 2)
    answers = np.asarray(model.predict_on_batch(noise(2, 64, 64, bands) if seen is None else seen[None]))
    if classes > 2:  # each of them somewhere
        last = next(w for w in reversed(model.weights) if w.shape == (classes,))
        last.assign(np.asarray(last) - np.log(answers).mean(axis=(0, 1, 2)))
    threshold = float(np.median(answers)) if threshold is None else threshold
    names = ("background", "road", "water", "forest")[:classes]
    multiple = int(read_multiple(options))
    save_model(
        model,
        path,
        ModelInfo(names, bands, threshold=threshold, multiple=multiple, trained_on=("a", "b"), ground_resolution_m=0.5),
    )
    return path


def read_multiple(options: dict[str, Any]) -> int:
    return 2 ** int(options.get("depth", 2)) * (2 if options.get("stem", "patch") != "none" else 1)


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Conversions in this process where it runs TensorFlow already; one test starts the real one."""
    real = export_module.run_module

    def run(name: str, *words: str, **variables: str) -> str:
        import keras

        from roadseg.exports import to_onnx

        if name != "roadseg.exports.to_onnx" or keras.config.backend() != "tensorflow":
            return real(name, *words, **variables)
        return "" if to_onnx.main(list(words)) == 0 else "ValueError: it did not go"

    patch = pytest.MonkeyPatch()
    patch.setattr(export_module, "run_module", run)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """Two classes, three bands, a threshold that is not 0.5."""
    path = network(folder / "model.keras")
    assert abs(read_info(path).threshold - 0.5) > 0.01
    return path


@pytest.fixture(scope="module")
def gis(model: Path) -> Path:
    return roadseg.export(model, model.with_name("gis.onnx"), tile=64, resolution=0.3).path


@pytest.fixture(scope="module")
def programs(model: Path) -> Path:
    return roadseg.export(model, model.with_name("programs.onnx"), purpose="programs").path


@pytest.fixture(scope="module")
def openvino(model: Path) -> Path:
    return roadseg.export(model, model.with_name("plain.xml")).path


@pytest.fixture(scope="module")
def several(folder: Path) -> Path:
    """Four classes, five bands."""
    return network(folder / "several.keras", bands=5, classes=4, stem="none", mean=[90] * 5, std=[50] * 5)


@pytest.fixture(scope="module")
def several_gis(several: Path) -> Path:
    with pytest.warns(RoadsegWarning, match="GeoDeep reads models of 3 bands only"):
        return roadseg.export(several, several.with_suffix(".onnx"), tile=64).path


# --- the files --------------------------------------------------------------------------------------------------------


def deepness_reads(path: Path) -> dict[str, Any]:
    """A model as Deepness' documentation says that it is read: shapes, and metadata by JSON with these types."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (entry,), (answer,) = session.get_inputs(), session.get_outputs()
    texts = session.get_modelmeta().custom_metadata_map
    found: dict[str, Any] = {
        key: kind(json.loads(texts[key]))
        for key, kind in (
            ("model_type", str), ("class_names", dict), ("resolution", float), ("tiles_size", int), ("tile_size", int),
            ("tiles_overlap", int), ("seg_thresh", float), ("seg_small_segment", int), ("standardization_mean", list),
            ("standardization_std", list),
        )
    }  # fmt: skip
    return found | {"in": entry.shape, "in_type": entry.type, "out": answer.shape, "out_type": answer.type}


@needs_onnx
def test_a_gis_file_follows_the_rules_of_deepness(gis: Path) -> None:
    found = deepness_reads(gis)
    assert found == {
        "model_type": "Segmentor",
        "class_names": {"0": "background", "1": "road"},
        "resolution": 30.0,
        "tiles_size": 64,
        "tile_size": 64,
        "tiles_overlap": 20,
        "seg_thresh": 0.5,
        "seg_small_segment": 0,
        "standardization_mean": [0.0] * 3,
        "standardization_std": [1.0] * 3,
        "in": [1, 3, 64, 64],
        "in_type": "tensor(float)",
        "out": [1, 2, 64, 64],
        "out_type": "tensor(float)",
    }


@needs_onnx
def test_a_gis_file_of_several_classes_has_a_channel_for_each(several_gis: Path) -> None:
    found = deepness_reads(several_gis)
    assert found["in"] == [1, 5, 64, 64] and found["out"] == [1, 4, 64, 64]
    assert found["class_names"] == {"0": "background", "1": "road", "2": "water", "3": "forest"}
    assert len(found["standardization_mean"]) == 5 and found["seg_thresh"] == 0  # the most probable, however improbable
    assert found["resolution"] == 50.0  # as it was trained


@needs_onnx
def test_the_two_channels_sum_to_1_and_are_equal_at_the_models_threshold(gis: Path, model: Path) -> None:
    import onnxruntime

    info = read_info(model)
    pixels = noise(1, 64, 64, 3, seed=5)
    probability = np.asarray(load_model(model).predict_on_batch(pixels))[..., 0]
    session = onnxruntime.InferenceSession(str(gis), providers=["CPUExecutionProvider"])
    shares = np.moveaxis(pixels, 3, 1).astype(np.float32) / 255
    (shown,) = session.run(None, {"pixels": shares})
    np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-6)
    sure = np.abs(probability - info.threshold) > 1e-5
    assert np.array_equal(shown.argmax(axis=1)[sure], (probability > info.threshold)[sure])
    assert 0.2 < (probability > info.threshold).mean() < 0.8  # else nothing is shown
    found, _ = gis_engine(gis, read_export(gis))(pixels)
    np.testing.assert_allclose(found[..., 0], probability, atol=1e-5)


def test_a_threshold_is_moved_to_a_half_and_back() -> None:
    for cut in (0.2, 0.5, 0.9):
        ladder = np.linspace(0, 1, 1001)
        shown = cut_at_half(ladder, cut, larger=np.maximum, smaller=np.minimum)
        assert shown[0] == pytest.approx(0) and shown[-1] == pytest.approx(1) and (np.diff(shown) > 0).all()
        assert np.interp(cut, ladder, shown) == pytest.approx(0.5, abs=1e-3)
    assert cut_of(Export(ModelInfo(threshold=0.0))) > 0 and cut_of(Export(ModelInfo(threshold=1.0))) < 1
    assert cut_of(Export(ModelInfo(("a", "b", "c"), threshold=0.3))) == 0.5


def test_what_the_model_knows_of_the_ground_is_scaled_and_may_be_overridden() -> None:
    info = ModelInfo(ground_resolution_m=0.6, scale=2.0)
    assert wanted_resolution(info, None) == pytest.approx(0.3) and wanted_resolution(info, 0.5) == 0.5
    assert wanted_resolution(ModelInfo(), None) is None and "resolution" not in gis_metadata(ModelInfo(), 512, None)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="metres per pixel"):
            wanted_resolution(info, wrong)


@needs_onnx
def test_the_model_information_travels_and_is_read_without_their_packages(
    model: Path, gis: Path, programs: Path, openvino: Path
) -> None:
    info = read_info(model)
    for path, purpose, tile in ((gis, "gis", 64), (programs, "programs", 0), (openvino, "programs", 0)):
        found = read_export(path)
        assert dataclasses.replace(found.info, hash=info.hash) == info and found.info.hash != info.hash
        assert (found.purpose, found.tile, found.source, found.precision) == (purpose, tile, info.hash, "float32")
    code = (
        "import sys\nfrom pathlib import Path\nfrom roadseg.learning.runs import read_info\n"
        "for p in sys.argv[1:]: assert read_info(Path(p)).bands == 3\n"
        "print([m for m in ('onnx', 'onnxruntime', 'openvino', 'keras') if m in sys.modules])"
    )
    done = python("-c", code, str(gis), str(openvino))
    assert done.stdout.strip() == "[]", done.stderr


def test_a_copy_for_keras_has_the_same_bytes(model: Path, tmp_path: Path) -> None:
    made = roadseg.export(model, tmp_path / "copy.keras", "keras")
    assert (tmp_path / "copy.keras").read_bytes() == model.read_bytes() and made.check is None
    assert files_in(tmp_path) == {"copy.keras"}


# --- the answers ------------------------------------------------------------------------------------------------------


@needs_onnx
def test_our_engines_run_an_exported_file_at_any_size(model: Path, gis: Path, programs: Path, openvino: Path) -> None:
    from roadseg.inference.cache import open_cache
    from roadseg.inference.choice import build

    exact = load_model(model)
    for path, name in (
        (gis, "openvino f32"),
        (programs, "openvino f32"),
        (programs, "onnx"),
        (openvino, "openvino f32"),
    ):
        found = build(name, path, open_cache(read_info(path).hash))
        for shape in ((2, 64, 32, 3), (1, 96, 160, 3)):  # more and less than the declared tile
            batch = noise(*shape, seed=shape[1])
            answer = found(batch)
            assert answer.dtype == np.float32
            expected = np.asarray(exact(batch, training=False))
            np.testing.assert_allclose(answer, expected, atol=2e-5, err_msg=f"{path.name} on {name}")


@needs_onnx
def test_several_classes_and_bands_go_there_and_back(several: Path, several_gis: Path) -> None:
    image = noise(150, 130, 5)
    expected = roadseg.load(several, engine="keras").probabilities(image)
    found = roadseg.load(several_gis).probabilities(image)
    assert found.shape == (150, 130, 4)
    assert np.abs(found - expected).mean() < 0.01  # it may be bfloat16
    assert (found.argmax(-1) == expected.argmax(-1)).mean() > 0.97


@needs_onnx
def test_an_ensemble_is_exported_as_any_model(tmp_path: Path, model: Path) -> None:
    second = network(tmp_path / "second.keras", threshold=read_info(model).threshold, activation="elu")
    both = roadseg.ensemble([model, second], tmp_path / "both.keras")
    made = roadseg.export(both, tmp_path / "both.onnx", tile=64)
    assert made.check is not None and made.check.max_difference < 1e-4 and made.resolution_m == 0.5


def test_predict_and_evaluate_take_an_exported_run(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, capsys: Capture
) -> None:
    dataset, run = shared_run(tmp_path_factory)
    answer = call(capsys, "export", run, "--out", tmp_path / "run.xml")
    assert answer.code == 0, answer.err
    assert "differ by at most" in answer.out and "made scenes" in answer.out and "IoU of the masks" in answer.out
    for name, model, engine in (("a", run, "keras"), ("b", tmp_path / "run.xml", "auto")):
        answer = call(capsys, "predict", model, dataset / "images", "--out", tmp_path / name, "--engine", engine)
        assert answer.code == 0, answer.err
    images = sorted((tmp_path / "a").glob("*.png"))
    same = [np.mean(np.array(Image.open(p)) == np.array(Image.open(tmp_path / "b" / p.name))) for p in images]
    assert len(images) == 6 and min(same) > 0.99
    scores = json.loads(call(capsys, "evaluate", tmp_path / "run.xml", dataset, "--json").out)
    assert scores["n_trained_on"] == 4 and scores["engine"].startswith("openvino")


@needs_onnx
def test_an_exported_model_is_predicted_without_any_training_framework(
    gis: Path, openvino: Path, tmp_path: Path
) -> None:
    Image.fromarray(noise(80, 90, 3)).save(tmp_path / "x.png")
    code = (
        "import sys\nfrom roadseg.commands import main\n"
        "for p in sys.argv[2:]: assert main(['predict', p, sys.argv[1], '--out', f'{p}-masks']) == 0\n"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    done = python("-c", code, str(tmp_path / "x.png"), str(gis), str(openvino), ROADSEG_CACHE=str(tmp_path / "cache"))
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


@needs_nncf
def test_8_bits_for_openvino_are_calibrated_and_told(model: Path, tmp_path: Path) -> None:
    images = [roadseg.make_scene(k, 128)[0] for k in range(3)]
    made = roadseg.export(model, tmp_path / "small.xml", int8=True, calibrate=images)
    assert made.check is not None and not made.check.made and 0 < made.check.mean_difference < 0.1
    assert read_export(made.path).precision == "int8" and made.about.precision == "int8"
    found = roadseg.load(made.path)
    exact = roadseg.load(model, engine="keras").probabilities(images[0])
    assert np.abs(found.probabilities(images[0]) - exact).mean() < 0.1 and found.engine == "openvino int8"


@needs_onnx
def test_8_bits_for_gis_programs_keep_the_metadata(model: Path, gis: Path, tmp_path: Path) -> None:
    images = [roadseg.make_scene(k, 128)[0] for k in range(3)]
    made = roadseg.export(model, tmp_path / "small.onnx", tile=64, resolution=0.3, int8=True, calibrate=iter(images))
    assert made.check is not None and 0 < made.check.mean_difference < 0.1
    assert deepness_reads(made.path) == deepness_reads(gis) and read_export(made.path).precision == "int8"
    exact = roadseg.load(model, engine="keras").probabilities(images[0])
    assert np.abs(roadseg.load(made.path).probabilities(images[0]) - exact).mean() < 0.1


def test_16_bit_weights_take_half_of_the_room(model: Path, openvino: Path, tmp_path: Path) -> None:
    made = roadseg.export(model, tmp_path / "half.xml", fp16=True)
    assert made.check is not None and made.check.max_difference < 0.02
    assert made.path.with_suffix(".bin").stat().st_size < 0.6 * openvino.with_suffix(".bin").stat().st_size
    assert files_in(tmp_path) == {"half.xml", "half.bin"}


# --- the command, and what is refused ---------------------------------------------------------------------------------


@needs_onnx
def test_the_command_converts_in_a_process_of_its_own(
    model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadseg.inference.convert import run_module

    monkeypatch.setattr(export_module, "run_module", run_module)
    images = scenes(tmp_path / "set", 2, size=80) / "images"
    words = ("export", model, "--format", "onnx", "--out", tmp_path / "a.onnx", "--tile", "72", "--json")
    answer = call(capsys, *words, "--calibrate", images)
    assert answer.code == 0, answer.err
    about = json.loads(answer.out)
    assert (about["tile"], about["format"], about["resolution_m"]) == (72, "onnx", 0.5)
    assert about["check"]["made"] is False and about["check"]["max_difference"] < 1e-4
    assert about["bytes"] == (tmp_path / "a.onnx").stat().st_size
    assert files_in(tmp_path) - {f for f in files_in(tmp_path) if f.startswith("set/")} == {"a.onnx"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "a.pt"], r"'.*a\.pt': an exported model has a name that ends in \.onnx, \.xml, \.keras"),
        (["--out", "a.xml", "--format", "onnx"], "an ONNX model has a name that ends in .onnx"),
        (["--out", "a.bin", "--format", "torch"], "--format torch: choose from onnx, openvino, keras"),
        (["--out", "a.onnx", "--tile", "100"], "--tile 100: this network takes multiples of 8 pixels, give e.g. "),
        (["--out", "a.onnx", "--tile", "0"], "--tile 0: this network takes multiples of 8 pixels, give e.g. 64"),
        (["--out", "a.onnx", "--resolution", "0"], "--resolution 0: give metres per pixel"),
        (["--out", "a.xml", "--resolution", "1"], "--resolution is for GIS programs"),
        (["--out", "a.xml", "--int8"], "--int8 needs images like those to predict: give --calibrate IMAGES"),
        (["--out", "a.keras", "--int8"], "--int8: a Keras model computes in floating point"),
        (["--out", "a.onnx", "--fp16"], "--fp16 is for --format openvino"),
        (["--out", "a.xml", "--calibrate", "gone.png"], "gone.png"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_made(
    model: Path, tmp_path: Path, capsys: Capture, words: list[str], message: str
) -> None:
    words[1] = str(tmp_path / words[1])
    answer = call(capsys, "export", model, *words)
    assert answer.code == 2 and "Traceback" not in answer.err
    import re

    assert re.search(message, answer.err), answer.err
    assert not files_in(tmp_path)


def test_models_that_are_not_there_or_not_ours_are_refused(model: Path, openvino: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model at"):
        roadseg.export(tmp_path / "gone", tmp_path / "a.xml")
    with pytest.raises(ModelError, match="is an exported model: export from the run"):
        roadseg.export(openvino, tmp_path / "a.xml")
    (tmp_path / "a.xml").mkdir()
    with pytest.raises(OutputError, match="is a folder: give a file name"):
        roadseg.export(model, tmp_path / "a.xml")
    link = tmp_path / "link.keras"
    os.link(model, link)
    with pytest.raises(OutputError, match="is the model itself"):
        roadseg.export(model, link)


def test_a_missing_package_names_its_extra(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None)
    with pytest.raises(
        BackendError, match=r"--format onnx needs onnx and .*tensorflow: pip install 'roadseg\[onnx,cpu\]'"
    ):
        roadseg.export(model, tmp_path / "a.onnx")
    with pytest.raises(BackendError, match=r"needs .*nncf: pip install 'roadseg\[int8\]'"):
        roadseg.export(model, tmp_path / "a.xml", int8=True, calibrate=[noise(64, 64, 3)])


def test_a_conversion_that_fails_or_changes_the_answers_leaves_what_was_there(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.onnx").write_text("before")
    monkeypatch.setattr(export_module, "_check_packages", lambda *_: None)
    monkeypatch.setattr(export_module, "run_module", lambda *a, **k: "KeyError: no such layer")
    with pytest.raises(
        ModelError, match=r"cannot be written as ONNX \(KeyError: no such layer\): use --format openvino"
    ):
        roadseg.export(model, tmp_path / "a.onnx", tile=64)
    (tmp_path / "a.xml").write_text("before")
    monkeypatch.setattr("roadseg.exports.roundtrip.reference_engine", lambda *_: (lambda x: x[..., :1] * 0.0, "zeros"))
    with pytest.raises(ModelError, match=r"changes on its way to xml.*zeros"):
        roadseg.export(model, tmp_path / "a.xml")
    with pytest.raises(ModelError, match="layers that only your code defines"):
        roadseg.export(model, tmp_path / "a.keras")
    assert files_in(tmp_path) == {"a.onnx", "a.xml"}
    assert {p.read_text() for p in tmp_path.iterdir()} == {"before"}


def test_a_network_with_layers_of_ones_own_is_refused_as_a_plain_keras_model(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("test_export")
    class Mine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs / 255.0

    pixels = keras.Input((None, None, 3), dtype="uint8")
    scaled = Mine()(keras.layers.Rescaling(1.0)(pixels))
    odd = keras.Model(pixels, keras.layers.Conv2D(1, 1, activation="sigmoid")(scaled))
    save_model(odd, tmp_path / "odd.keras", ModelInfo())
    with pytest.raises(ModelError, match=r"plain Keras does not load .*odd\.keras.*layers that only your code defines"):
        roadseg.export(tmp_path / "odd.keras", tmp_path / "copy.keras")
    with pytest.raises(ModelError, match=r"odd\.keras"):
        roadseg.export(tmp_path / "odd.keras", tmp_path / "copy.xml")
    assert files_in(tmp_path) == {"odd.keras"}


@needs_onnx
def test_an_exported_file_that_is_damaged_or_foreign_is_named(gis: Path, openvino: Path, tmp_path: Path) -> None:
    import onnx

    cut = tmp_path / "cut.onnx"
    cut.write_bytes(gis.read_bytes()[:-5000])
    alone = tmp_path / "alone.xml"
    alone.write_bytes(openvino.read_bytes())
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    page = tmp_path / "page.xml"
    page.write_text("<html><body/></html>")
    page.with_suffix(".bin").write_bytes(b"")
    foreign = tmp_path / "foreign.onnx"
    other = onnx.load(gis)
    del other.metadata_props[:]
    onnx.save(other, foreign)
    for path, message in (
        (cut, "is not an ONNX model"),
        (text, "is not an ONNX model"),
        (alone, "alone.bin' is missing"),
        (page, "is not an OpenVINO model"),
        (foreign, "that roadseg did not write"),
    ):
        with pytest.raises(ModelError, match=message):
            read_info(path)


@needs_onnx
def test_an_engine_that_an_exported_file_does_not_run_on_is_refused(gis: Path, openvino: Path, programs: Path) -> None:
    for path, engine in ((gis, "keras"), (gis, "onnx"), (openvino, "onnx"), (programs, "keras")):
        with pytest.raises(ModelError, match=f"--engine {engine}: .*exported model, it runs on openvino"):
            roadseg.load(path, engine=engine)
    with pytest.raises(ModelError, match="an exported model predicts only"):
        load_model(gis)


@needs_onnx
def test_models_of_other_pixel_values_or_unknown_ground_are_warned_of(model: Path, tmp_path: Path) -> None:
    info = dataclasses.replace(read_info(model), ground_resolution_m=None, value_range=(100.0, 4000.0))
    save_model(load_model(model), tmp_path / "deep.keras", info)
    with pytest.warns(RoadsegWarning) as told:
        roadseg.export(tmp_path / "deep.keras", tmp_path / "deep.onnx", tile=64)
    texts = " ".join(str(warning.message) for warning in told)
    assert "give --resolution" in texts and "-scale 100 4000 0 255" in texts
