"""Our training step and forward pass against PyTorch by hand, plain and compiled, in turns.

    ROADSEG_PEERS=path/to/peers python benchmarks/step.py --rounds 5
    ROADSEG_PEERS=path/to/peers python benchmarks/step.py --width 64 --size 512 --batch 16 --device cuda

The peer is `torch_unet.py`: the same U-Net, AdamW, bfloat16, channels-last, data in memory; ours clips the gradient and
averages the weights besides. In each round every program runs once, in a process of its own. Prints a JSON line a
round, and one with the medians of the rounds' ratios: above 1 ours is faster. `train` is to the faster of the two peers
of that round; each engine of ours is compared with the faster forward pass.
"""

import argparse
import statistics
import sys

from paired import ROADSEG, json_lines, median_ratio, peer, say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--part", choices=("train", "predict", "all"), default="all")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=10, help="measuring time of each figure")
    add("--width", type=int, default=32)
    add("--depth", type=int, default=4)
    add("--batch", type=int, default=4)
    add("--size", type=int, default=256)
    add("--dtype", choices=("fp32", "bf16"), default="bf16", help="of the peer; ours takes what is faster here")
    add("--precision", choices=("auto", "float32", "mixed_bfloat16"), default="auto", help="of our training")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="of our recipe; may be repeated")
    add("--device", default="cpu", help="of the peer: cpu or cuda")
    add("--no-compile", action="store_true", help="leave the compiled peer out")
    args = parser.parse_args()
    shape = ["--depth", args.depth, "--batch", args.batch, "--size", args.size, "--seconds", args.seconds]
    torch = [sys.executable, peer("torch_unet.py"), "--base", args.width, *shape]
    torch += ["--dtype", args.dtype, "--device", args.device]
    ours = [*ROADSEG, "bench", "--json", "--width", args.width, *shape, "--precision", args.precision]
    parts = {"train": ["step"], "predict": ["engines"], "all": ["step", "engines"]}[args.part]
    for part in parts:
        ours += ["--only", part]
    for setting in args.set:
        ours += ["--set", setting]

    mine: dict[str, list[float]] = {}
    theirs: dict[str, dict[str, list[float]]] = {"train": {}, "predict": {}}
    for turn in range(args.rounds):
        found = json_lines(ours)[-1]
        rates = {name: e["img_s"] for name, e in found.get("engines", {}).items() if "img_s" in e}
        if "step" in found:
            rates["train"] = found["step"]["img_s"]
        for name, rate in rates.items():
            mine.setdefault(name, []).append(rate)
        peers = {}
        for name, more in (("plain", []), ("compiled", ["--compile"])):
            if name == "compiled" and args.no_compile:
                continue
            peers[name] = other = json_lines([*torch, *more])[-1]
            theirs["train"].setdefault(name, []).append(other["train_img_s"])
            theirs["predict"].setdefault(name, []).append(other["infer_img_s"])
        kept = ("train_img_s", "infer_img_s", "first_step_s")
        say(
            round=turn + 1,
            ours_img_s=rates,
            first_step_s=found.get("step", {}).get("first_step_s"),
            torch_img_s={name: {k: p[k] for k in kept} for name, p in peers.items()},
        )

    def ratios(rates: list[float], rows: dict[str, list[float]]) -> dict[str, float]:
        better = [max(of_round) for of_round in zip(*rows.values(), strict=True)]
        compared = {**rows, "better": better} if len(rows) > 1 else rows
        return {name: round(median_ratio(rates, row), 3) for name, row in compared.items()}

    say(
        rounds=args.rounds,
        ours_img_s={name: round(statistics.median(rates), 2) for name, rates in mine.items()},
        torch_img_s={
            what: {name: round(statistics.median(row), 2) for name, row in rows.items()}
            for what, rows in theirs.items()
        },
        ratio_to_torch={
            name: ratios(rates, theirs["train" if name == "train" else "predict"])
            for name, rates in mine.items()
            if len(rates) == args.rounds  # an engine that failed in a round has no pairs
        },
    )


if __name__ == "__main__":
    main()
