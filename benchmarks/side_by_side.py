"""Ours and another program on the same images for the same training time, one after the other.

    ROADSEG_PEERS=path/to/peers python benchmarks/side_by_side.py cil path/to/cil --minutes 20
    ROADSEG_PEERS=path/to/peers python benchmarks/side_by_side.py classic path/to/cil --minutes 8

`cil`: fold 0 of 5 (seed 43). The peer is `torch_train.py`, a PyTorch script (U-Net with 24-384 channels, bfloat16,
rotation, scale and colour perturbation, BCE + Dice, AdamW, one-cycle, averaged weights); it gets as many steps as fit
into the training seconds that ours took. `classic`: every fifth image held out. The peer is `seed_recipe.py`, the
recipe of `examples/classic.toml` in a hundred lines of Keras; ours gets its steps. Prints one JSON line for each and
one with the differences.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCORES = ("pixel_f1", "pixel_iou", "patch_accuracy", "patch_f1")


def last_json(command: list[str]) -> list[dict]:
    """Run a program and return the JSON lines that it prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def ours(cil: Path, out: Path, *options: str) -> dict:
    subprocess.run([sys.executable, "-m", "roadseg", "train", str(cil), "--out", str(out), *options], check=True)
    metrics = json.loads((out / "metrics.json").read_text())
    rows = (out / "history.csv").read_text().splitlines()
    return {
        "program": "roadseg",
        "steps": metrics["steps"],
        "train_s": metrics["times"]["training_s"],
        "total_s": metrics["times"]["total_s"],
        "epochs": len(rows) - 1,
        **{key: round(metrics[key], 4) for key in SCORES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("cil", "classic"))
    parser.add_argument("cil", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, help="keep our run here")
    args = parser.parse_args()
    peers = Path(os.environ.get("ROADSEG_PEERS", ""))
    if not (peers / "torch_train.py").is_file():
        sys.exit("set ROADSEG_PEERS to the folder with torch_train.py and seed_recipe.py")
    out = args.out or Path(tempfile.mkdtemp()) / "run"
    if args.which == "cil":
        mine = ours(args.cil, out, "--fold", "0/5", "--minutes", str(args.minutes))
        print(json.dumps(mine), flush=True)
        program = [sys.executable, str(peers / "torch_train.py"), str(args.cil), "--split", "fold:0/5"]
        probe = last_json([*program, "--steps", "30", "--every", "30"])[0]
        steps = round(mine["train_s"] / probe["train_s"] * 30)
        found = last_json([*program, "--steps", str(steps), "--every", str(steps)])[0]
        theirs = {"program": "torch_train.py", "steps": found["step"], **{k: found[k] for k in ("train_s", *SCORES)}}
    else:
        program = [sys.executable, str(peers / "seed_recipe.py"), str(args.cil), "--minutes", str(args.minutes)]
        found = last_json(program)[-1]
        theirs = {"program": "seed_recipe.py", "steps": found["step"], **{k: found[k] for k in ("train_s", *SCORES)}}
        names = out.parent / "every_fifth.txt"
        names.write_text("\n".join(f"satImage_{k:03d}" for k in range(1, 101) if k % 5 == 3))
        recipe = Path(__file__).parents[1] / "examples" / "classic.toml"
        options = ["--config", str(recipe), "--val-names", str(names), "--set", f"train.steps={found['step']}"]
        mine = ours(args.cil, out, *options)
        for entry in (mine, theirs):
            entry["seconds_per_epoch_of_90"] = round(entry["train_s"] / entry["steps"] * 45, 1)
        print(json.dumps(mine), flush=True)
    print(json.dumps(theirs), flush=True)
    print(json.dumps({"difference": {key: round(mine[key] - theirs[key], 4) for key in SCORES}}), flush=True)


if __name__ == "__main__":
    main()
