"""A model card as Markdown, from the facts in its JSON. No sentence here says more than the facts do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["as_markdown"]

LABELS = {"surface": "the road as it is seen", "lines": "lines of a few fixed widths"}


def as_markdown(card: Mapping[str, Any]) -> str:
    """The page of a model.

    Args:
        card: as `weights.card_of` gives it.
    """
    file, training, threshold = card["file"], card["training"], card["threshold"]
    parts = [
        f"# {card['name']}",
        "<!-- Made from the card's JSON by `python -m roadseg.pretraining`: change it there. -->",
        card["about"],
        f"`{card['name']}.keras`: {file['megabytes']} MB, {card['parameters']:,} weights in half precision (computed "
        f"in float32), hash `{file['hash']}`; configuration and list of data `{file['recipe']}`. It learnt from images "
        f"of about {card['ground_resolution_m']:g} m per pixel; road is where its probability is above "
        f"{threshold['threshold']:g}.",
        "## Scores on images that it never learnt from",
        "Whole places of each set are held out by name. Their own labels are the truth, with whatever they lack.",
        _scores(card),
        f"Mean IoU of {', '.join(threshold['sets'])} (sets with few held-out images have no say) "
        f"{threshold['mean_iou']:.3f} at this threshold, {threshold['mean_iou_at_half']:.3f} at 0.5; with each set's "
        f"threshold chosen on the others {threshold['nested_mean_iou']:.3f}.",
        "## Data",
        _data(card["data"]),
        f"Hash of the list of images, masks and held-out names: `{card['data']['hash']}`.",
        "## Training",
        _training(training, card["measures"]),
        "## Calibration",
        f"Expected calibration error {card['calibration']['calibration_error']:.4f} (of the same sets, each counting "
        f"alike), best temperature {card['calibration']['temperature']:g}.",
        _reliability(card["calibration"]["reliability"]),
        "## Half precision",
        _half(card["half_precision"]),
    ]
    if card.get("brought"):
        parts += ["## What each measure brought", _brought(card["brought"])]
    if card.get("robustness"):
        parts += ["## Changed images", _robustness(card["robustness"])]
    if card.get("few_shot"):
        parts += ["## A few images of one's own", _few_shot(card["few_shot"])]
    if card.get("folds"):
        parts += ["## Cross-validation with and without it", _folds(card["folds"])]
    parts += ["## What it gets wrong", _mistakes(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}".removeprefix("0") if isinstance(value, float) and 0 < value < 1 else str(value)


def _scores(card: Mapping[str, Any]) -> str:
    keys = ("pixel_iou", "pixel_f1", "pixel_precision", "pixel_recall", "patch_f1", "patch_accuracy")
    head = ["set", "images", *(key.replace("_", " ") for key in keys), "all background", "calibration error"]
    return _table(
        head,
        (
            [name, s["n_images"], *(s[key] for key in keys), s["all_background_patch_accuracy"], s["calibration_error"]]
            for name, s in card["scores"].items()
        ),
    )


def _data(data: Mapping[str, Any]) -> str:
    head = ["set", "trained", "held out", "m per pixel", "labels", "roads missing", "share of crops", "no label within"]
    total = sum(one["share"] or 0 for one in data["sets"])
    rows = [
        [
            one["name"],
            one["trained"],
            f"{one['held_out']} (`{one['held_out_pattern']}`)",
            f"{one['resolution_m']:g}{' (estimated)' if one['estimated'] else ''}",
            LABELS[one["labels"]],
            "no" if one["complete"] else "yes",
            f"{one['share'] / total:.0%}" if total else "by area",
            f"{one['border_px']} px of a border" if one["border_px"] else "",
        ]
        for one in data["sets"]
    ]
    sources = [f"- {one['name']}: {one['source']}" for one in data["sets"] if one["source"]]
    return "\n\n".join([_table(head, rows), "\n".join(sources)])


def _training(training: Mapping[str, Any], measures: Mapping[str, Any]) -> str:
    network = ", ".join(f"{key} {value}" for key, value in training["network"].items())
    lines = [
        f"{training['steps']} steps of {training['batch']} crops of {training['crop']}x{training['crop']} px, "
        f"{training['hours']:g} hours of training, {training['precision']}; network: {network}."
    ]
    for what, found in measures["unlabelled"].items():
        told = ", ".join(f"{name} {share:.1%}" for name, share in found.items() if share)
        if told:
            lines.append(f"Training pixels without a label, {what}: {told}.")
    return "\n".join(lines)


def _reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [f"{b['low']:.2f}-{b['high']:.2f}", b["mean_probability"], b["road_share"]]
        for b in bins
        if b["mean_probability"] is not None
    ]
    return _table(["probability", "mean", "share that is road"], rows)


def _half(found: Mapping[str, Any]) -> str:
    rows = [[name, *(f"{value:+.5f}" for value in change.values())] for name, change in found["change"].items()]
    head = ["set", *(key.replace("_", " ") for key in next(iter(found["change"].values())))]
    return (
        f"Largest rounding of a weight: {found['largest_rounding']:g}. Change of the scores, at threshold 0.5:\n\n"
        f"{_table(head, rows)}"
    )


def _brought(found: Mapping[str, Any]) -> str:
    sets = list(next(iter(found["rows"].values())))
    rows = [[name, *(values[one] for one in sets)] for name, values in found["rows"].items()]
    return f"Pixel IoU on the held-out images after {found['steps']} steps.\n\n{_table(['recipe', *sets], rows)}"


def _robustness(found: Mapping[str, Any]) -> str:
    tables = []
    for name, curve in found["curves"].items():
        sets = list(curve["pixel_iou"])
        rows = [
            [f"{level:g}", *(curve["pixel_iou"][one][k] for one in sets), *(curve["patch_f1"][one][k] for one in sets)]
            for k, level in enumerate(curve["levels"])
        ]
        head = [curve["unit"], *(f"{one}, IoU" for one in sets), *(f"{one}, patch F1" for one in sets)]
        tables.append(f"### {name}\n\n{_table(head, rows)}")
    return f"{found['images']} held-out images a set at most.\n\n" + "\n\n".join(tables)


def _few_shot(found: Mapping[str, Any]) -> str:
    rows = [
        [n, f"{row['scratch_mean']:.4f} ± {row['scratch_sd']:.4f}", f"{row['init_mean']:.4f} ± {row['init_sd']:.4f}",
         f"{row['difference']:+.4f}"]
        for n, row in found["rows"].items()
    ]  # fmt: skip
    return (
        f"Pixel F1 on {found['held_out']} held-out images of {found['set']}, which the first weights never saw; mean "
        f"and standard deviation of {found['seeds']} draws of the images, {found['steps']} steps each.\n\n"
        + _table(["images", "from scratch", "from the model", "difference"], rows)
    )


def _folds(found: Mapping[str, Any]) -> str:
    rows = [
        [fold, found["scratch"][fold], found["init"][fold], f"{found['init'][fold] - found['scratch'][fold]:+.4f}"]
        for fold in found["init"]
    ]
    return (
        f"{found['set']}, {len(rows)} folds of seed {found['fold_seed']}, pixel F1 of final weights; the first weights "
        f"never saw {found['set']}. Mean {found['init_mean']:.4f} against {found['scratch_mean']:.4f}: "
        f"{found['difference']:+.4f} ± {found['sd_of_difference']:.4f}.\n\n"
        + _table(["fold", "from scratch", "from the model", "difference"], rows)
    )


def _mistakes(card: Mapping[str, Any]) -> str:
    worst = [
        f"- {name}: " + ", ".join(f"`{stem}` {value:.3f}" for stem, value in found["worst"].items())
        for name, found in card["scores"].items()
    ]
    return "\n".join(
        [*(f"- {line}" for line in card["mistakes"]), "", "Held-out images with the lowest pixel F1:", "", *worst]
    ).strip()
