"""Whether plain Keras loads a `.keras` file: tried in a process of its own that knows none of our layers."""

import sys
import warnings

import numpy as np

__all__ = ["main"]


def main(words: list[str]) -> int:
    """`MODEL SIDE`; 0 when the model loads and answers one window of SIDE x SIDE pixels."""
    source, side = words[0], int(words[1])
    warnings.simplefilter("ignore")
    try:
        import keras

        model = keras.saving.load_model(source, compile=False, safe_mode=True)
        bands = model.inputs[0].shape[-1]
        answer = model.predict_on_batch(np.zeros((1, side, side, bands), np.uint8))
        if answer.shape[:3] != (1, side, side):
            raise ValueError(f"{side}x{side} pixels come out as {answer.shape}")
    except Exception as error:
        lines = str(error).strip().splitlines()
        print(f"{type(error).__name__}: {lines[0] if lines else ''}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
