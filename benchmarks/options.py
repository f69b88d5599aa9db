"""Does every option train, what does its step cost, and what are its parameters: a smoke table, not a ranking.

    python benchmarks/options.py --out results/options.jsonl
    python benchmarks/options.py --out results/options.jsonl --data path/to/cil --only residual focal lion

`options.toml` has the rows: groups of labels, each with `--set` assignments over the default recipe. Every row is a run
of two short epochs on small crops: the seconds of a step are those of the second epoch, the score is the one after the
first, which says that something was learnt, and no more than that. Without --data it trains on made scenes. Every
finished row is a line of `--out`; what is there is not done again. A row that fails is said, and tried again next time.
"""

import argparse
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from paired import Results, train

SCORE = "val_pixel_f1"


def read_rows(path: Path, only: list[str] | None) -> dict[str, tuple[str, list[str]]]:
    """Label -> (group, settings); the baseline first."""
    groups: dict[str, dict[str, list[str]]] = tomllib.loads(path.read_text())
    rows = {label: (group, settings) for group, table in groups.items() for label, settings in table.items()}
    unknown = [label for label in only or () if label not in rows]
    if unknown:
        sys.exit(f"{path} has no row '{unknown[0]}': it has {', '.join(rows)}")
    return {label: row for label, row in rows.items() if only is None or label in only or row[0] == "baseline"}


def measure(data: Path, settings: list[str], common: list[str], steps: int) -> dict[str, Any]:
    """One row: parameters, seconds a step, what the first step took beyond, score after the first epoch."""
    length = [f"train.steps={2 * steps}", f"train.steps_per_epoch={steps}"]
    run = train(data, [*common, *length, *settings], "--val", 0.25)
    first, second = run["history"]
    step = float(second["train_seconds"]) / steps
    return {
        "parameters": run["parameters"],
        "step_s": round(step, 4),
        "first_s": round(float(first["train_seconds"]) - steps * step, 1),
        "score": round(float(first[SCORE]), 4),
        "loss": [round(float(row["loss"]), 4) for row in (first, second)],
    }


def table(rows: dict[str, tuple[str, list[str]]], found: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown: a line a row."""
    base = next((found[label] for label, (group, _) in rows.items() if group == "baseline" and label in found), None)
    lines = [
        "| group | option | parameters | s/step | of the default's | pixel F1 after one short epoch | loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, (group, settings) in rows.items():
        what = f"`{' '.join(settings)}`" if settings else label
        if label not in found:
            lines.append(f"| {group} | {what} | failed | | | | |")
            continue
        row = found[label]
        ratio = f"{row['step_s'] / base['step_s']:.2f}" if base else ""
        loss = " -> ".join(f"{value:.3f}" for value in row["loss"])
        cells = (group, what, f"{row['parameters']:,}", f"{row['step_s']:.3f}", ratio, f"{row['score']:.3f}", loss)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def run_rows(data: Path, name: str, rows: dict[str, tuple[str, list[str]]], args: argparse.Namespace) -> dict[str, Any]:
    """Every row that is not done yet."""
    results = Results(args.out)
    common = [f"train.crop={args.crop}", f"train.batch={args.batch}", *args.set]
    found = {}
    for label, (_, settings) in rows.items():
        key = {"piece": "option", "data": name, "common": common, "steps": args.steps, "set": settings}
        line = results.find(**key)
        if line is None:
            try:
                line = results.add(measure(data, settings, common, args.steps), **key)
            except SystemExit as stop:
                print(f"{label} failed: {stop}", file=sys.stderr, flush=True)
                continue
        found[label] = line
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE.jsonl")
    add("--data", type=Path, help="a dataset folder, in place of made scenes")
    add("--rows", type=Path, default=Path(__file__).with_name("options.toml"), metavar="FILE.toml")
    add("--only", nargs="+", metavar="LABEL", help="these rows, beside the default")
    add("--steps", type=int, default=12, help="of each of the two epochs")
    add("--crop", type=int, default=128)
    add("--batch", type=int, default=4)
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="of every row, e.g. network.width=8")
    args = parser.parse_args()
    rows = read_rows(args.rows, args.only)
    if args.data is not None:
        found = run_rows(args.data, args.data.name, rows, args)
    else:
        from roadseg.imagery.scenes import write_scenes

        with tempfile.TemporaryDirectory() as folder:
            found = run_rows(write_scenes(Path(folder), 16, size=256), "scenes", rows, args)
    where = f"two epochs of {args.steps} steps of {args.batch} crops of {args.crop}x{args.crop}, CPU"
    print(f"\nA smoke table ({where}): it says that each option trains and what it costs, not which is better.\n")
    print("\n".join(table(rows, found)))


if __name__ == "__main__":
    main()
