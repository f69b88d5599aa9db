"""The report of an ablation study, from its ablation.json: what helps, what hurts, what these runs cannot tell."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from .charts import Difference, forest_plot
from .page import (
    SCORE_NAMES,
    grouped,
    listed,
    machine_tables,
    number,
    row_table,
    score_text,
    section,
    table_of,
    value_text,
)

__all__ = ["ablation_parts"]

STAGES = {"screen": "Screening", "confirm": "Confirmation"}
METHOD = (
    "Each factor is trained on the same folds with the same seeds as the baseline, differences are averaged over the "
    "seeds, and the interval is the corrected resampled t over folds (Nadeau and Bengio 2003; of several splits of the "
    "images, Bouckaert and Frank 2004), beside a bootstrap over "
    "the held-out images. A factor helps or hurts where p stays below 0.05 after Holm's correction for the number of "
    "factors; “cannot tell” is a result: the effect, if any, is smaller than these runs can see."
)


def ablation_parts(content: Mapping[str, Any]) -> list[str]:
    """The page's parts (HTML, some empty): the last stage, whose word counts, comes first.

    Args:
        content: of ablation.json.
    """
    stages = [stage for stage in listed(content.get("stages")) if listed(stage.get("factors"))]
    metric = str(content.get("metric") or "")
    several = len(stages) > 1
    return [
        _header(content, stages),
        *(_stage(stage, metric, screening=several and stage is stages[0]) for stage in reversed(stages)),
        "" if stages else section("Factors", "<p>Nothing is finished yet.</p>"),
        _method(content),
        _machine(content),
    ]


def _name(metric: str) -> str:
    return SCORE_NAMES.get(metric, metric)


def _header(content: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> str:
    dataset = table_of(content.get("dataset"))
    said = [
        str(dataset.get("name") or ""),
        f"{dataset['pairs']} images" if dataset.get("pairs") is not None else "",
        f"primary score, declared beforehand: {_name(str(content['metric']))}" if content.get("metric") else "",
        f"groups by {content['group']}" if content.get("group") else "",
    ]
    facts = escape(" · ".join(part for part in said if part))
    answer = _answer(stages[-1]) if stages else ""
    return f"<header><h1>{escape(str(content.get('title') or 'Ablation'))}</h1><p>{facts}</p></header>{answer}"


def _answer(stage: Mapping[str, Any]) -> str:
    """The last stage's verdicts in a sentence each."""
    found: dict[str, list[str]] = {}
    for factor in listed(stage.get("factors")):
        progress = _progress(factor) if factor.get("verdict") else ""
        name = f"{factor.get('name')} ({progress.rstrip('.')})" if progress else str(factor.get("name"))
        found.setdefault(str(factor.get("verdict") or "not finished"), []).append(name)
    kinds = [kind for kind in ("helps", "hurts", "cannot tell", "not finished") if kind in found]
    return "".join(f"<p><b>{kind}:</b> {escape(', '.join(found[kind]))}</p>" for kind in kinds)


def _stage(stage: Mapping[str, Any], metric: str, screening: bool) -> str:
    name = str(stage.get("name") or "")
    folds, held = stage.get("folds"), stage.get("held_out_folds")
    seeds, splits = stage.get("seeds"), _splits(stage)
    said = [
        f"folds {', '.join(map(str, held))} of {folds}" if isinstance(held, list) else "",
        f"fold seed{'s' if len(splits) > 1 else ''} {', '.join(map(str, splits))}" if splits else "",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if isinstance(seeds, list) else "",
        str(stage.get("length") or ""),
        str(stage.get("chosen_by") or ""),
    ]
    note = escape(" · ".join(part for part in said if part))
    if screening:
        note += ". What was picked here for its figures looks better here than it is: believe the confirmation."
    factors = listed(stage.get("factors"))
    ranked = sorted(
        factors, key=lambda f: (-number(f["mean"]) if _known(f.get("mean")) else math.inf, str(f.get("name")))
    )
    parts = [
        _baseline(table_of(stage.get("baseline")), metric),
        forest_plot(f"Difference of {_name(metric)} to the baseline", [_difference(factor) for factor in ranked]),
        f"<h3>The primary score: {escape(_name(metric))}</h3>" + _verdicts(ranked, metric),
        _folds(ranked, held, splits),
        _others(ranked, table_of(stage.get("baseline")), metric),
        _failures(ranked, table_of(stage.get("baseline"))),
    ]
    return section(STAGES.get(name, name), *parts, note=note)


def _known(value: Any) -> bool:
    return math.isfinite(number(value))


def _settings(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _baseline(baseline: Mapping[str, Any], metric: str) -> str:
    scores = table_of(table_of(baseline.get("scores")).get(metric))
    told = []
    if _known(scores.get("mean")):
        spread = f" ± {score_text(scores.get('sd'))} over the folds" if _known(scores.get("sd")) else ""
        told.append(f"Baseline: {escape(_name(metric))} <b>{score_text(scores['mean'])}</b>{spread}.")
    told.append(_progress(baseline))
    settings = _settings(baseline.get("set"))
    told.append(f"Set in it: <code>{escape(settings)}</code>." if settings else "")
    return f"<p>{' '.join(part for part in told if part)}</p>" if any(told) else ""


def _progress(row: Mapping[str, Any]) -> str:
    """`3 of 10 runs finished`, where some are missing."""
    finished, wanted = number(row.get("finished")), number(row.get("wanted"))
    return f"{finished:.0f} of {wanted:.0f} runs finished." if finished < wanted else ""


def _interval(low: Any, high: Any) -> tuple[float, float]:
    """An end that is null in the file is infinite: too few folds."""
    return (number(low) if low is not None else -math.inf, number(high) if high is not None else math.inf)


def _difference(factor: Mapping[str, Any]) -> Difference:
    bootstrap = table_of(factor.get("bootstrap"))
    tested = _known(factor.get("p"))
    folds = factor.get("per_fold")
    return Difference(
        name=str(factor.get("name")),
        mean=number(factor.get("mean")),
        interval=_interval(factor.get("low"), factor.get("high")) if tested else (math.nan, math.nan),
        bootstrap=(number(bootstrap.get("low")), number(bootstrap.get("high"))),
        folds=[number(value) for value in folds] if isinstance(folds, list) else [],
        verdict=str(factor.get("verdict") or ""),
        note=_progress(factor) or "one fold: no interval",
        tip=_settings(factor.get("set")),
    )


# === Tables ===


def _ends(low: Any, high: Any) -> str:
    if not (_known(low) or _known(high)):
        return "&ndash;"
    return f"[{score_text(low, signed=True)}, {score_text(high, signed=True)}]"


def _p(value: Any) -> str:
    found = number(value)
    if not math.isfinite(found):
        return "&ndash;"
    return "&lt; 0.0001" if found < 1e-4 else f"{found:.2g}"


def _verdicts(factors: Sequence[Mapping[str, Any]], metric: str) -> str:
    heads = ["factor", "mean score", "difference", "95 % interval", "bootstrap", "p", "p, Holm", "verdict", "runs"]
    rows = []
    for factor in factors:
        bootstrap = table_of(factor.get("bootstrap"))
        more = escape(str(factor.get("more_runs") or "")) if factor.get("verdict") == "cannot tell" else ""
        said = escape(str(factor.get("verdict") or "")) or "&ndash;"
        verdict = f"<b>{said}</b>" + (f"<br><small>{more}</small>" if more else "")
        rows.append(
            [
                f"{escape(str(factor.get('name')))}<br><small><code>{escape(_settings(factor.get('set')))}</code></small>",
                score_text(table_of(table_of(factor.get("scores")).get(metric)).get("mean")),
                score_text(factor.get("mean"), signed=True),
                _ends(factor.get("low"), factor.get("high")),
                _ends(bootstrap.get("low"), bootstrap.get("high")),
                _p(factor.get("p")),
                _p(factor.get("p_holm")),
                verdict,
                f"{value_text(factor.get('finished', '?'))} of {value_text(factor.get('wanted', '?'))}",
            ]
        )
    return row_table(heads, rows)


def _splits(stage: Mapping[str, Any]) -> list[Any]:
    """The seeds of its splits; a study of before there could be several has one."""
    several = stage.get("fold_seeds")
    return several if isinstance(several, list) else [s for s in [stage.get("fold_seed")] if s is not None]


def _folds(factors: Sequence[Mapping[str, Any]], held: Any, splits: Sequence[Any]) -> str:
    """Which fold says what: fold by fold, the factors' differences."""
    rows = []
    numbers = held if isinstance(held, list) else []
    several = len(splits) > 1
    names = [
        f"{fold} of {split}" if several else str(fold) for split in (splits if several else [""]) for fold in numbers
    ]
    for factor in factors:
        values = factor.get("per_fold")
        if not isinstance(values, list) or not values:
            continue
        folds = [str(fold) for fold in factor["folds"]] if isinstance(factor.get("folds"), list) else names
        if several and isinstance(factor.get("fold_seeds"), list):
            folds = [f"{fold} of {split}" for fold, split in zip(folds, factor["fold_seeds"], strict=False)]
        by_fold = dict(zip(folds, values, strict=False))
        rows.append([escape(str(factor.get("name"))), *(score_text(by_fold.get(name), signed=True) for name in names)])
    if not rows or not names:
        return ""
    table = row_table(["difference", *(f"fold {escape(name)}" for name in names)], rows)
    return f"<details><summary>Differences of each fold</summary>{table}</details>"


def _ratio(value: Any, base: Any) -> str:
    found, before = number(value), number(base)
    return f"&times; {found / before:.2f}" if math.isfinite(found) and before > 0 else "&ndash;"


def _others(factors: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any], metric: str) -> str:
    """The other scores, which decide nothing, and the cost beside the baseline's."""
    base_scores, base_cost = table_of(baseline.get("scores")), table_of(baseline.get("cost"))
    metrics = [key for key in SCORE_NAMES if key != metric and _known(table_of(base_scores.get(key)).get("mean"))]
    heads = ["factor", *(SCORE_NAMES[key] for key in metrics), "training time", "prediction time", "parameters"]
    rows = [["baseline", *_costs_of_baseline(base_scores, base_cost, metrics)]]
    for factor in factors:
        scores, cost = table_of(factor.get("scores")), table_of(factor.get("cost"))
        changes = [score_text(table_of(scores.get(key)).get("difference"), signed=True) for key in metrics]
        slower = number(cost.get("time_ratio"))
        time = f"&times; {slower:.2f}" if math.isfinite(slower) else "&ndash;"
        if "time_ratio" not in cost:
            time = _ratio(cost.get("seconds_per_epoch"), base_cost.get("seconds_per_epoch"))
        image, size = (_ratio(cost.get(key), base_cost.get(key)) for key in ("image_s", "parameters"))
        rows.append([escape(str(factor.get("name"))), *changes, time, image, size])
    return "<h3>Other scores and cost</h3>" + row_table(heads, rows)


def _costs_of_baseline(scores: Mapping[str, Any], cost: Mapping[str, Any], metrics: Sequence[str]) -> Iterator[str]:
    for key in metrics:
        yield score_text(table_of(scores.get(key)).get("mean"))
    epoch, image, size = (number(cost.get(key)) for key in ("seconds_per_epoch", "image_s", "parameters"))
    yield f"{epoch:.3g} s an epoch" if math.isfinite(epoch) else "&ndash;"
    yield f"{image:.3g} s an image" if image > 0 else "&ndash;"
    yield grouped(size)


def _failures(factors: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]) -> str:
    rows = []
    for name, row in (("baseline", baseline), *((str(f.get("name")), f) for f in factors)):
        failed = row.get("failed")
        rows += [[escape(name), escape(str(text))] for text in failed] if isinstance(failed, list) else []
    if not rows:
        return ""
    return "<h3>Trainings that failed</h3>" + row_table(["factor", "why"], rows)


# === The rest ===


def _method(content: Mapping[str, Any]) -> str:
    command = content.get("command")
    made = f"<p>Made by <code>{escape(str(command))}</code>.</p>" if command else ""
    unused = content.get("not_used")
    left = ""
    if isinstance(unused, list) and unused:
        left = (
            f"<p>Runs of factors that the study no longer has are not used: {escape(', '.join(map(str, unused)))}.</p>"
        )
    return section("Method", f"<p>{escape(METHOD)}</p>", made, left)


def _machine(content: Mapping[str, Any]) -> str:
    machines = content["machines"] if isinstance(content.get("machines"), list) else []
    names = escape("; ".join(map(str, machines)))
    mixed = f"<p>Runs are of several machines: {names}.</p>" if len(machines) > 1 else ""
    return section("Machine", mixed, machine_tables(content))
