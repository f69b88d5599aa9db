"""What happens after an epoch."""

from types import SimpleNamespace

import numpy as np
import pytest

from roadseg.errors import RunError
from roadseg.imagery.dataset import Sample
from roadseg.learning import callbacks
from roadseg.learning.callbacks import History, Validation
from roadseg.learning.runs import RunFolder
from roadseg.learning.validation import Validated
from roadseg.scores import score_image


def test_a_loss_that_is_not_a_number_ends_the_run_before_anything_is_saved(tmp_path):
    history = History(RunFolder(tmp_path), [], steps_per_epoch=10, batch=2)
    history.on_epoch_begin(2)
    with pytest.raises(RunError, match=r"not a number after epoch 3.*train\.learning_rate"):
        history.on_epoch_end(2, {"loss": float(np.nan)})
    assert history.rows == [] and not list(tmp_path.iterdir())


def test_of_a_validation_a_few_probabilities_alone_are_kept(monkeypatch):
    import weakref

    monkeypatch.setattr(callbacks, "averaged_weights", lambda model: [])

    made: list[weakref.ref] = []
    most = 0

    def run():
        nonlocal most
        for k in range(9):
            p = np.full((8, 8, 1), 0.6, np.float32)
            made.append(weakref.ref(p))
            mask = np.full((8, 8), k % 2, np.uint8)
            sample = Sample(f"{k}", np.zeros((8, 8, 3), np.uint8), mask, None, "")
            yield Validated(sample, p, score_image(mask, np.ones_like(mask)), 0.1 * k)
            del p
            most = max(most, sum(ref() is not None for ref in made))

    validation = Validation(SimpleNamespace(set_weights=lambda weights: None), run, classes=2, shown=2)
    validation.set_model(SimpleNamespace())
    logs: dict[str, float] = {}
    validation.on_epoch_end(0, logs)
    assert most <= 3 and [r.stem for r in validation.results] == [str(k) for k in range(9)]
    assert [r.sample.stem for r in validation.pictures] == ["0", "1"]
    assert logs["val_loss"] == pytest.approx(0.4) and logs["val_pixel_recall"] == 1
