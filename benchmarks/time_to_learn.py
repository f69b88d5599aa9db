"""Time to learn: a PyTorch script first, then ours in a share of its training seconds, several seeds, final weights.

    ROADSEG_PEERS=path/to/peers python benchmarks/time_to_learn.py path/to/cil --out results/learn.jsonl
    ROADSEG_PEERS=path/to/peers python benchmarks/time_to_learn.py path/to/cil --out results/learn.jsonl --share 1.0

The peer is `torch_train.py --steps 900` on the CIL images, every fifth of them held out. Ours gets the number of steps
that fit into `--share` of its seconds, compiling included, from step times taken in turns on this machine. `--set`
tries another recipe (give it another `--label`). Every finished piece is a line of `--out`; what is there is not done
again: after an interruption call it once more. Prints each piece, then means over the seeds and the difference to the
peer.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from paired import SCORES, Results, json_lines, peer, say, scored, step_seconds, train


def held_out(data: Path) -> list[str]:
    """The stems at positions 2, 7, 12, ... of the sorted images: the split `every5` of the peer."""
    images = data / "training" / "images" if (data / "training").is_dir() else data / "images"
    return sorted(path.stem for path in images.iterdir())[2::5]


def torch_step_seconds(data: Path) -> float:
    """Seconds of the peer's step, without its first ten."""
    command = [sys.executable, peer("torch_train.py"), data, "--steps", 30, "--every", 10]
    spent = {line["step"]: line["train_s"] for line in json_lines(command) if "loss" in line}
    return float(spent[30] - spent[10]) / 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, help="the CIL images")
    add("--out", type=Path, required=True, metavar="FILE.jsonl")
    add("--share", type=float, nargs="+", default=[0.4], help="of the peer's training seconds")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--steps", type=int, default=900, help="of the peer")
    add("--rounds", type=int, default=3, help="of step times, in turns")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="of our recipe; may be repeated")
    add("--label", default="default", help="name of our recipe in the results")
    add("--runs", type=Path, metavar="DIR", help="keep our run folders here")
    args = parser.parse_args()
    peer("torch_train.py")
    results = Results(args.out)

    # The long run first: it warms the machine, as the step times below will be taken on a warm one.
    theirs = results.find(piece="peer", steps=args.steps)
    if theirs is None:
        command = [sys.executable, peer("torch_train.py"), args.data, "--steps", args.steps, "--every", args.steps]
        lines = json_lines(command)
        final = next(line for line in lines if line.get("step") == args.steps and "tta" not in line)
        tta = next((line for line in lines if "tta" in line), {})
        theirs = results.add(
            {**final, "tta_scores": {score: tta.get(score) for score in SCORES}}, piece="peer", steps=args.steps
        )

    recipe = {"label": args.label, "set": args.set}
    turns = []
    for turn in range(args.rounds):
        found = results.find(piece="steps", **recipe, turn=turn)
        if found is None:
            ours, first = step_seconds(args.data, args.set)
            values = {"ours_s": round(ours, 4), "first_s": round(first, 2), "torch_s": torch_step_seconds(args.data)}
            found = results.add(values, piece="steps", **recipe, turn=turn)
        turns.append(found)
    ratio = statistics.median(turn["torch_s"] / turn["ours_s"] for turn in turns)
    first = statistics.median(turn["first_s"] / turn["ours_s"] for turn in turns)  # in steps of ours

    for share in args.share:
        steps = max(1, int(share * args.steps * ratio - first))
        runs = []
        for seed in args.seeds:
            key = {"piece": "ours", **recipe, "share": share, "seed": seed, "steps": steps}
            found = results.find(**key)
            if found is None:
                with tempfile.TemporaryDirectory() as folder:
                    names = Path(folder) / "held_out.txt"
                    names.write_text("\n".join(held_out(args.data)) + "\n")
                    keep = args.runs / f"{args.label}_{share:g}_{seed}" if args.runs else None
                    settings = [*args.set, f"train.steps={steps}"]
                    run = train(args.data, settings, "--val-names", names, "--seed", seed, keep=keep)
                found = results.add(scored(run), **key)
            runs.append(found)
        means = {score: statistics.mean(run[score] for run in runs) for score in SCORES}
        seconds = statistics.mean(run["train_s"] for run in runs)
        say(
            label=args.label,
            share=share,
            steps=steps,
            seeds=args.seeds,
            step_ratio=round(ratio, 3),
            train_s=round(seconds, 1),
            torch_train_s=theirs["train_s"],
            share_measured=round(seconds / theirs["train_s"], 3),
            mean={score: round(mean, 4) for score, mean in means.items()},
            torch={score: theirs[score] for score in SCORES},
            difference={score: round(means[score] - theirs[score], 4) for score in SCORES},
        )


if __name__ == "__main__":
    main()
