"""Where a model is wrong: by distance from the road border, by road share, image by image, and doubtful labels.

Takes predictions of images that the model has not seen; what the figures mean is for the report to say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError
from ..files import write_aside, write_json
from ..imagery.dataset import Sample
from ..imagery.masks import IGNORED
from ..reports.overlays import overlay
from ..scores import Scores, score_image
from .label_errors import border_distances, find_suspects, suspect_picture

__all__ = ["DISTANCES_PX", "ROAD_SHARES", "analyse"]

VERSION = 1
DISTANCES_PX = (1, 2, 4, 8, 16)  # between the bins, on each side of the border
NEAR_PX = (2, 4)  # of DISTANCES_PX
ROAD_SHARES = (0.05, 0.1, 0.2, 0.3)  # between the bins
PICTURES = 12  # overlays of the worst images
LONGEST = 1600  # px of an overlay's longer side
CROPS = 24  # pictures of suspected label errors
LISTED = 200  # suspected label errors in the JSON file

Probabilities = NDArray[np.float32]


def analyse(
    samples: Iterable[tuple[Sample, Probabilities]],
    out: Path,
    threshold: float,
    *,
    patch_threshold: float = 0.25,
    seeds: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Analyse the mistakes on held-out images; write OUT/mistakes.json and pictures in OUT/mistakes.

        mistakes/NAME_overlay.png   up to 12 of the worst images, by IoU and by wrong pixels in turn
        mistakes/label_N.png        up to 24 suspected label errors, see `label_errors`

    What counts as found is the mean over the seeds. Pixels without a label or without data are left out everywhere.
    Pictures of an earlier analysis that are not made anew are removed. Of several classes only the scores of each image
    are written, and the file says so.

    Args:
        samples: pairs of a sample and its road probabilities, (S, H, W) float32 in [0, 1] for S >= 1 trainings that
            have not seen it; of several classes (S, K, H, W), each class' probability. Read once, one at a time.
        out: folder.
        threshold: road is where the probability is above it.
        patch_threshold: a 16x16 patch is road when its mask's mean is strictly above it.
        seeds: of the S trainings, for the record.

    Returns:
        What is in mistakes.json. `by_distance` has bins of px from the border line, from deep inside road to far
        outside; `near_border` the shares of all errors and of all pixels that lie within so many px; `from`/`to` are
        null where a bin is open. Shares are 0..1, null where there is nothing to share.

    Raises:
        DataError: no samples, or probabilities that do not fit their image.
        OutputError: the folder cannot be written.
    """
    out = Path(out)
    tally = _Tally(threshold, patch_threshold)
    for sample, probabilities in samples:
        tally.add(sample, probabilities, seeds)
    if not tally.scores:
        raise DataError("there are no held-out images to analyse: give at least one")
    found = tally.result(list(seeds) if seeds is not None else tally.seeds)
    _write(out, found, tally.pictures(found))
    return found


def _fits(sample: Sample, probabilities: Probabilities, seeds: Sequence[int] | None) -> None:
    shape, expected = probabilities.shape, sample.mask.shape
    if probabilities.ndim not in (3, 4) or 0 in shape or shape[-2:] != expected:
        wanted = f"(seeds, {expected[0]}, {expected[1]})"
        raise DataError(f"probabilities of '{sample.stem}' have shape {shape}: expected {wanted}, predict it anew")
    if seeds is not None and shape[0] != len(seeds):
        raise DataError(
            f"probabilities of '{sample.stem}' are of {shape[0]} trainings, but {len(seeds)} seeds are given"
        )
    largest = int(sample.mask[sample.mask != IGNORED].max(initial=0))
    classes = 2 if probabilities.ndim == 3 else shape[1]
    if largest >= classes:
        raise DataError(
            f"'{sample.stem}' has class {largest} in its mask, but its probabilities are of {classes} classes"
        )


@dataclass
class _Ranking:
    """The first so many by rank, each with its picture, whatever the order in which they come."""

    room: int
    kept: list[tuple[tuple[Any, ...], dict[str, Any], bytes]] = field(default_factory=list)

    def takes(self, rank: tuple[Any, ...]) -> bool:
        return len(self.kept) < self.room or rank < self.kept[-1][0]

    def add(self, rank: tuple[Any, ...], entry: dict[str, Any], png: bytes) -> None:
        self.kept.append((rank, entry, png))
        self.kept.sort(key=lambda item: item[0])
        del self.kept[self.room :]

    def entries(self) -> list[dict[str, Any]]:
        return [entry for _, entry, _ in self.kept]


@dataclass
class _Tally:
    """Sums over the images so far. Pictures are kept as PNG bytes: nothing is written before all has gone well."""

    threshold: float
    patch_threshold: float
    seeds: int = 0
    classes: int = 2
    scores: dict[str, Scores] = field(default_factory=dict)
    # (background | road, bin, right | wrong)
    distances: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, len(DISTANCES_PX) + 1, 2), np.int64))
    suspected_errors: int = 0
    suspects: int = 0
    suspect_pixels: int = 0
    labels: _Ranking = field(default_factory=lambda: _Ranking(LISTED))
    crops: _Ranking = field(default_factory=lambda: _Ranking(CROPS))  # the first of `labels`
    by_iou: _Ranking = field(default_factory=lambda: _Ranking(PICTURES))
    by_wrong: _Ranking = field(default_factory=lambda: _Ranking(PICTURES))

    def add(self, sample: Sample, probabilities: Probabilities, seeds: Sequence[int] | None) -> None:
        _fits(sample, probabilities, seeds)
        if probabilities.ndim == 4 and probabilities.shape[1] <= 2:
            probabilities = probabilities[:, -1]  # the road's of two classes
        mask = sample.mask if sample.valid is None else np.where(sample.valid, sample.mask, np.uint8(IGNORED))
        mean = probabilities.mean(axis=0, dtype=np.float32)
        self.seeds = max(self.seeds, len(probabilities))
        if mean.ndim == 3:
            self.classes = len(mean)
            self.scores[sample.stem] = score_image(mask, mean.argmax(axis=0).astype(np.uint8), self.classes)
            return
        found = mean > self.threshold
        score = score_image(mask, found.astype(np.uint8), patch_threshold=self.patch_threshold)
        self.scores[sample.stem] = score
        self._count_distances(mask, found)
        self._keep_worst(sample, mask, mean, score)
        self._keep_suspects(sample, mask, probabilities, mean, found)

    def _count_distances(self, mask: NDArray[np.uint8], found: NDArray[np.bool_]) -> None:
        inside, outside = border_distances(mask)
        bins = len(DISTANCES_PX) + 1
        for side, distance in ((0, outside), (1, inside)):
            here = mask == side
            # A border pixel's centre is 0.5 px from the border: it lies in the first bin, [0, 1).
            place = np.searchsorted(DISTANCES_PX, distance[here], side="right")
            wrong = found[here] != bool(side)
            self.distances[side] += np.bincount(place * 2 + wrong, minlength=2 * bins).reshape(bins, 2)

    def _keep_worst(self, sample: Sample, mask: NDArray[np.uint8], mean: Probabilities, score: Scores) -> None:
        if not score.pixels.sum():
            return
        iou, wrong, stem = float(score.to_dict()["pixel_iou"]), _wrong(score), sample.stem
        ranks = ((self.by_iou, (iou, -wrong, stem)), (self.by_wrong, (-wrong, iou, stem)))
        wanted = [(ranking, rank) for ranking, rank in ranks if ranking.takes(rank)]
        if wanted:
            png = _png(overlay(sample.image, mean, mask, self.threshold), LONGEST)
            for ranking, rank in wanted:
                ranking.add(rank, {"stem": stem}, png)

    def _keep_suspects(
        self,
        sample: Sample,
        mask: NDArray[np.uint8],
        probabilities: Probabilities,
        mean: Probabilities,
        found: NDArray[np.bool_],
    ) -> None:
        for suspect in find_suspects(mask, probabilities):
            x0, y0, x1, y1 = suspect.box
            wrong = (found != (mask == 1))[y0:y1, x0:x1]
            self.suspects += 1
            self.suspect_pixels += suspect.pixels
            self.suspected_errors += int((wrong & suspect.region).sum())
            rank = (-suspect.score, sample.stem, suspect.box)
            entry = {
                "stem": sample.stem,
                "kind": suspect.kind,
                "box": list(suspect.box),
                "pixels": suspect.pixels,
                "score": round(suspect.score, 3),
            }
            self.labels.add(rank, entry, b"")
            if self.crops.takes(rank):
                self.crops.add(rank, entry, _png(suspect_picture(sample.image, mask, mean, suspect)))

    def result(self, seeds: Any) -> dict[str, Any]:
        """The content of mistakes.json; pictures have their names but are not written."""
        found: dict[str, Any] = {
            "version": VERSION,
            "threshold": self.threshold,
            "seeds": seeds,
            "classes": self.classes,
            "n_images": len(self.scores),
        }
        if self.classes > 2:
            found["note"] = "several classes: only the scores of each image; the rest is for roads against background"
        else:
            found["errors"] = self._errors()
            found["by_distance"] = self._by_distance()
            found["near_border"] = [self._near(px) for px in NEAR_PX]
            found["by_road_share"] = self._by_road_share()
            found["worst"] = self._worst()
            found["label_errors"] = self._label_errors()
        found["images"] = {stem: _image(score, self.classes) for stem, score in sorted(self.scores.items())}
        return found

    def pictures(self, found: dict[str, Any]) -> dict[str, bytes]:
        """PNG bytes by file name, of all pictures that `found` names."""
        if self.classes > 2:
            return {}
        overlays = {entry["stem"]: png for _, entry, png in (*self.by_iou.kept, *self.by_wrong.kept)}
        made = {Path(name).name: overlays[stem] for stem, name in found["worst"]["overlays"].items()}
        return made | {f"label_{number}.png": png for number, (*_, png) in enumerate(self.crops.kept, 1)}

    def _errors(self) -> dict[str, Any]:
        pixels = Scores.pool(self.scores.values()).pixels
        wrong = int(pixels[0, 1] + pixels[1, 0])
        return {
            "pixels": int(pixels.sum()),
            "wrong": wrong,
            "missed": int(pixels[1, 0]),
            "false_alarms": int(pixels[0, 1]),
            "in_suspected_labels": self.suspected_errors,
        }

    def _by_distance(self) -> list[dict[str, Any]]:
        rows = []
        edges: list[int | None] = [0, *DISTANCES_PX, None]
        for side, name in ((1, "road"), (0, "background")):
            bins = []
            for place in range(len(edges) - 1):
                right, wrong = (int(n) for n in self.distances[side, place])
                bins.append(
                    {
                        "side": name,
                        "from": edges[place],
                        "to": edges[place + 1],
                        "pixels": right + wrong,
                        "errors": wrong,
                        "error_share": _share(wrong, right + wrong),
                    }
                )
            rows += bins[::-1] if side else bins
        return rows

    def _near(self, px: int) -> dict[str, Any]:
        near = self.distances[:, : DISTANCES_PX.index(px) + 1].sum(axis=(0, 1))
        total = self.distances.sum(axis=(0, 1))
        return {"px": px, "errors": _share(near[1], total[1]), "pixels": _share(near.sum(), total.sum())}

    def _by_road_share(self) -> list[dict[str, Any]]:
        edges: list[float | None] = [0.0, *ROAD_SHARES, None]
        groups: list[list[Scores]] = [[] for _ in edges[1:]]
        for score in self.scores.values():
            share = _road_share(score)
            if share is not None:
                groups[int(np.searchsorted(ROAD_SHARES, share, side="right"))].append(score)
        rows = []
        for place, group in enumerate(groups):
            row: dict[str, Any] = {"from": edges[place], "to": edges[place + 1], "images": len(group)}
            told = Scores.pool(group).to_dict() if group else {}
            row |= {key: told.get(key) for key in ("pixel_f1", "pixel_iou", "patch_accuracy")}
            rows.append(row)
        return rows

    def _worst(self) -> dict[str, Any]:
        by_iou, by_wrong = ([entry["stem"] for entry in r.entries()] for r in (self.by_iou, self.by_wrong))
        in_turn = [stem for pair in zip(by_iou, by_wrong, strict=True) for stem in pair]
        shown = list(dict.fromkeys(in_turn))[:PICTURES]
        overlays = {stem: f"mistakes/{stem}_overlay.png" for stem in shown}
        return {"by_iou": by_iou, "by_wrong_pixels": by_wrong, "overlays": overlays}

    def _label_errors(self) -> dict[str, Any]:
        ranked = []
        for number, entry in enumerate(self.labels.entries(), 1):
            ranked.append(entry | {"picture": f"mistakes/label_{number}.png" if number <= CROPS else None})
        return {"found": self.suspects, "pixels": self.suspect_pixels, "ranked": ranked}


def _wrong(score: Scores) -> int:
    return int(score.pixels.sum() - np.trace(score.pixels))


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _road_share(score: Scores) -> float | None:
    return _share(score.pixels[1].sum(), score.pixels.sum())


def _image(score: Scores, classes: int) -> dict[str, Any]:
    told = score.to_dict()
    found = {key: told[key] for key in ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy")}
    found |= {"pixels": int(score.pixels.sum()), "wrong": _wrong(score)}
    if classes == 2:
        found |= {"missed": int(score.pixels[1, 0]), "false_alarms": int(score.pixels[0, 1])}
        found |= {"road_share": _road_share(score)}
    return found


def _png(picture: NDArray[np.uint8], longest: int | None = None) -> bytes:
    image = Image.fromarray(picture)
    if longest is not None:
        image.thumbnail((longest, longest))  # larger ones only
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _write(out: Path, found: dict[str, Any], pictures: dict[str, bytes]) -> None:
    folder = out / "mistakes"
    for name, png in pictures.items():
        with write_aside(folder / name) as aside:
            aside.write_bytes(png)
    write_json(out / "mistakes.json", found)
    for pattern in ("*_overlay.png", "label_[0-9]*.png"):
        for path in folder.glob(pattern):
            if path.name not in pictures:
                path.unlink(missing_ok=True)
