"""Which recipe learns most in the same time: variants of the default recipe, each trained for equal training seconds.

    python benchmarks/accuracy_per_minute.py path/to/cil --out results/variants.jsonl --seconds 180 --folds 0/5 1/5
    python benchmarks/accuracy_per_minute.py path/to/cil --out results/variants.jsonl --only bce_dice wide --seeds 0 1

`variants.toml` names them, each a list of `--set` assignments; `baseline` is what the others are compared with. The
baseline gets the steps that fit into `--seconds`; a variant gets as many more or fewer as its step is faster or slower,
by step times taken in turns with the baseline's on this machine. Every finished piece is a line of `--out`; what is
there is not done again: after an interruption, or with more variants, folds or seeds, call it once more. Ends with a
table: each variant's mean, and its paired difference to the baseline over the same folds and seeds.
"""

import argparse
import math
import statistics
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from paired import Results, median_ratio, scored, step_seconds, train
from time_to_learn import held_out

BASELINE = "baseline"
SHOWN = ("pixel_f1", "pixel_iou", "patch_accuracy")


def read_variants(path: Path, only: list[str] | None) -> dict[str, list[str]]:
    """Label -> settings, the baseline first."""
    variants: dict[str, list[str]] = tomllib.loads(path.read_text())["variants"]
    unknown = [label for label in only or () if label not in variants]
    if unknown:
        sys.exit(f"{path} has no variant '{unknown[0]}': it has {', '.join(variants)}")
    base = {BASELINE: variants.pop(BASELINE, [])}
    return base | {label: settings for label, settings in variants.items() if only is None or label in only}


def take_turns(results: Results, data: Path, variants: dict[str, list[str]], rounds: int) -> dict[str, Any]:
    """For each variant its steps per step of the baseline; and of the baseline, under its name, seconds a step.

    Every variant has turns of its own with the baseline, beside each other in time.
    """
    found: dict[str, Any] = {}
    for label, settings in variants.items():
        if label == BASELINE:
            continue
        pairs = []
        for turn in range(rounds):
            key = {"piece": "steps", "variant": label, "set": settings, "baseline": variants[BASELINE], "turn": turn}
            pair = results.find(**key)
            if pair is None:
                base, _ = step_seconds(data, variants[BASELINE])
                own, first = step_seconds(data, settings)
                pair = results.add({"baseline_s": base, "own_s": own, "first_s": first}, **key)
            pairs.append(pair)
        found[label] = median_ratio([p["baseline_s"] for p in pairs], [p["own_s"] for p in pairs])
        found.setdefault(BASELINE, []).extend(p["baseline_s"] for p in pairs)
    if BASELINE not in found:  # alone
        key = {"piece": "steps", "variant": BASELINE, "set": variants[BASELINE]}
        line = results.find(**key) or results.add({"own_s": step_seconds(data, variants[BASELINE])[0]}, **key)
        found[BASELINE] = [line["own_s"]]
    return {**found, BASELINE: statistics.median(found[BASELINE])}


def run_all(
    results: Results, data: Path, variants: dict[str, list[str]], steps: dict[str, int], args: argparse.Namespace
) -> dict[str, dict[tuple[str, int], dict[str, Any]]]:
    """Every variant on every fold with every seed; all variants of one fold and seed beside each other in time."""
    runs: dict[str, dict[tuple[str, int], dict[str, Any]]] = {label: {} for label in variants}
    for seed in args.seeds:
        for fold in args.folds:
            for label, settings in variants.items():
                key = {
                    "piece": "run", "variant": label, "set": settings, "data": data.name, "fold": fold, "seed": seed,
                    "steps": steps[label],
                }  # fmt: skip
                run = results.find(**key)
                if run is None:
                    with tempfile.TemporaryDirectory() as folder:
                        split: list[object] = ["--fold", fold]
                        if fold == "every5":
                            names = Path(folder) / "held_out.txt"
                            names.write_text("\n".join(held_out(data)) + "\n")
                            split = ["--val-names", names]
                        made = train(data, [*settings, f"train.steps={steps[label]}"], *split, "--seed", seed)
                    run = results.add(scored(made), **key)
                runs[label][fold, seed] = run
    return runs


def table(runs: dict[str, dict[tuple[str, int], dict[str, Any]]]) -> list[str]:
    """A line a variant: steps, seconds, mean of each score, paired difference ± its standard error, folds won."""
    width = max(len(label) for label in runs)
    heads = "".join(f"  {score:>14}  {'difference':>16}  won" for score in SHOWN)
    lines = [f"{'variant':<{width}}  {'steps':>5}  {'train s':>7}{heads}"]
    for label, found in runs.items():
        steps = statistics.mean(run["steps"] for run in found.values())
        seconds = statistics.mean(run["train_s"] for run in found.values())
        line = f"{label:<{width}}  {steps:>5.0f}  {seconds:>7.1f}"
        for score in SHOWN:
            mean = statistics.mean(run[score] for run in found.values())
            differences = [run[score] - runs[BASELINE][place][score] for place, run in found.items()]
            error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
            won = f"{sum(d > 0 for d in differences)}/{len(differences)}"
            shown = "" if label == BASELINE else f"{statistics.mean(differences):+.4f} ± {error:.4f}"
            line += f"  {mean:>14.4f}  {shown:>16}  {'' if label == BASELINE else won:>3}"
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, help="a dataset folder")
    add("--out", type=Path, required=True, metavar="FILE.jsonl")
    add("--variants", type=Path, default=Path(__file__).with_name("variants.toml"), metavar="FILE.toml")
    add("--only", nargs="+", metavar="LABEL", help="these variants, beside the baseline")
    add("--seconds", type=float, default=180, help="training seconds of a run")
    add("--steps", type=int, help="of the baseline, in place of --seconds")
    add("--folds", nargs="+", default=["0/5"], metavar="K/N", help="K/N as of --fold, or every5: every fifth image")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--rounds", type=int, default=3, help="of step times, in turns")
    args = parser.parse_args()
    variants = read_variants(args.variants, args.only)
    results = Results(args.out)
    speed = take_turns(results, args.data, variants, args.rounds)
    base = args.steps
    if base is None:  # kept: on another day the same seconds are other steps
        key = {"piece": "budget", "seconds": args.seconds, "baseline": variants[BASELINE]}
        line = results.find(**key) or results.add({"steps": max(1, round(args.seconds / speed[BASELINE]))}, **key)
        base = line["steps"]
    steps = {label: base if label == BASELINE else max(1, round(base * speed[label])) for label in variants}
    runs = run_all(results, args.data, variants, steps, args)
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
