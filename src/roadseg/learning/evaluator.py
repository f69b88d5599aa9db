"""A network of a run with what is needed to score it on labelled images."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..config import PredictConfig
from ..errors import BackendError
from ..imagery.dataset import Sample
from ..inference.engine import KerasEngine
from ..inference.predictor import Predictor
from .devices import DataParallelEngine
from .runs import ModelInfo
from .validation import Validated, validate

__all__ = ["Evaluator"]


class Evaluator:
    """Scores `model` as prediction would apply it; its weights may be replaced at any time, nothing is compiled anew.

    Args:
        model: a Keras model: (N, H, W, bands) uint8 to probabilities.
        info: what it is for.
        config: windows, batch, thresholds. It is scored without test-time augmentation.
        loss: a Keras loss on `(1, H, W, 1)` truth.
        weights: of the pixels (H, W) in it, by the images' stems; what is not there is computed each time.
    """

    def __init__(
        self,
        model: Any,
        info: ModelInfo,
        config: PredictConfig,
        loss: Any,
        weights: Mapping[str, NDArray[np.floating[Any]]] | None = None,
    ) -> None:
        self.model = model
        self.weights = weights
        self.config = config
        self.loss = loss
        self.classes = len(info.classes)
        without = msgspec.structs.replace(config, tta=False)
        self.predictor = Predictor(DataParallelEngine(KerasEngine(model)), info, without)

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Validated]:
        """One result an image, one after the other: their probabilities need not be in memory together.

        Raises:
            BackendError: the device's memory does not hold a batch of windows.
        """
        config = self.config
        limits = config.threshold, config.patch_threshold
        try:
            yield from validate(self.predictor, samples, self.classes, *limits, self.loss, self.weights)
        except BackendError as error:
            raise BackendError(
                f"out of memory in validation: try --set predict.batch={max(1, config.batch // 2)}"
                f" or --set predict.window={max(64, config.window // 2)}"
            ) from error
