"""The whole job on made scenes: dataset, training, evaluation, prediction, submission, picture sheet."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ConfigError, RoadsegError, RunError
from .files import make_folder

__all__ = ["run_demo"]

SCENES, UNSEEN = 48, 12


def run_demo(out: Path | str, minutes: float = 3.0, seed: int = 0) -> dict[str, Any]:
    """Make scenes, train on them for `minutes`, score on scenes that training never saw, predict, write a submission.

    Returns:
        paths of what was made and `scores`, those on the unseen scenes.

    Raises:
        RunError: `out` is there already and not empty.
        RoadsegError: training is not possible; the made scenes are taken away again.
    """
    from PIL import Image

    from . import api, evaluation
    from .backend import choose_backend
    from .imagery.scenes import write_scenes
    from .reports.sheets import prediction_sheet, save_png
    from .roads.submission import write_submission

    out = Path(out)
    if out.is_dir() and any(out.iterdir()):
        raise RunError(f"'{out}' is not empty: remove it, or give another --out")
    if not 0 < minutes < 1e6:
        raise ConfigError(f"--minutes {minutes:g}: a number above 0")
    choose_backend()  # there may be none, and then there is nothing to make scenes for
    make_folder(out)
    print(f"1. making {SCENES} scenes to learn from and {UNSEEN} to be tested on", flush=True)
    scenes = write_scenes(out / "scenes", SCENES, seed=seed)
    unseen = write_scenes(out / "unseen", UNSEEN, seed=seed + 1)
    print(f"2. training for {minutes:g} minutes", flush=True)
    try:
        run = api.train(scenes, out / "run", minutes=minutes, seed=seed)
    except RoadsegError:
        for made in (scenes, unseen):
            shutil.rmtree(made, ignore_errors=True)
        with contextlib.suppress(OSError):  # a run that was begun stays
            out.rmdir()
        raise
    print("3. scoring on the unseen scenes", flush=True)
    scores = evaluation.evaluate(run.path, unseen)
    print("4. predicting them", flush=True)
    api.predict(run.path, unseen / "images", out / "masks", probabilities=True, engine="keras")  # it is loaded already
    print("5. writing a submission of 16x16 patches", flush=True)
    write_submission(out / "masks", out / "submission.csv")
    print("6. drawing a sheet", flush=True)
    names = sorted(p.stem for p in (unseen / "images").iterdir())[:6]
    items = []
    for name in names:
        image = np.asarray(Image.open(unseen / "images" / f"{name}.png"))
        p = np.asarray(Image.open(out / "masks" / f"{name}_prob.png"), np.float32) / 255
        truth = np.asarray(Image.open(unseen / "masks" / f"{name}.png")) // 255
        items.append((name, image, p, truth))
    save_png(out / "demo.png", prediction_sheet(items))
    return {
        "scenes": scenes,
        "unseen": unseen,
        "run": run.path,
        "masks": out / "masks",
        "submission": out / "submission.csv",
        "sheet": out / "demo.png",
        "scores": scores,
    }
