"""A run with deep supervision: one answer is scored and saved, and it can be interrupted and resumed."""

import csv
import json

from helpers import call, scenes, tiny, train

from roadseg.learning import callbacks
from roadseg.learning.runs import load_model

SETTINGS = tiny(
    "network.depth=2",
    "network.deep_supervision=0.5",
    "network.stem=none",
    "network.normalization=weight",
    "loss=boundary_bce",
)


class Interruption(callbacks.Checkpoint):
    """Ctrl-C in the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_a_run_with_deep_supervision_saves_one_answer_and_is_resumed(tmp_path, capsys, monkeypatch):
    data = scenes(tmp_path / "data", 4)
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "Checkpoint", Interruption)
        stopped = call(capsys, "train", data, "--out", run, "--fold", "0/2", "--epochs", 2, *SETTINGS)
    assert stopped.code == 130
    resumed = train(capsys, data, run, "--resume")
    model = load_model(run / "model.keras")
    assert model.output.shape[-1] == 1
    assert not any("logits1" in layer.name for layer in model.layers)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["complete"] and metrics["parameters"] == model.count_params()
    assert f"{metrics['parameters']:,} weights" not in resumed.out  # the further answers train too
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and float(rows[-1]["val_loss"]) > 0 and 0 <= float(rows[-1]["pixel_f1"]) <= 1
