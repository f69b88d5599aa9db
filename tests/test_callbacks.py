"""What happens after an epoch."""

import numpy as np
import pytest

from roadseg.errors import RunError
from roadseg.learning.callbacks import History
from roadseg.learning.runs import RunFolder


def test_a_loss_that_is_not_a_number_ends_the_run_before_anything_is_saved(tmp_path):
    history = History(RunFolder(tmp_path), [], steps_per_epoch=10, batch=2)
    history.on_epoch_begin(2)
    with pytest.raises(RunError, match=r"not a number after epoch 3.*train\.learning_rate"):
        history.on_epoch_end(2, {"loss": float(np.nan)})
    assert history.rows == [] and not list(tmp_path.iterdir())
