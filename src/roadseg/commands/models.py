"""`roadseg models`: the models in the package, and their cards."""

import argparse
import json

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "the models in the package, and what is known of each"
EXAMPLE = "roadseg models roads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg models`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this model's card")
    parser.add_argument("--json", action="store_true", help="the card, or all of them, as JSON")


def run(args: argparse.Namespace) -> int | None:
    """List the models, or show a card."""
    from ..weights import card_of, packaged
    from ..weights.cards import as_markdown

    if args.name is not None:
        card = card_of(args.name)
        print(json.dumps(card, indent=2) if args.json else as_markdown(card).rstrip(), flush=True)
        return 0
    cards = [card_of(name) for name in packaged()]
    if args.json:
        print(json.dumps(cards, indent=2), flush=True)
        return 0
    if not cards:
        print("no models in this build: train one with `roadseg train DATASET --out RUN`", flush=True)
    for card in cards:
        told = ", ".join(f"{name} {scores['pixel_iou']:.3f}" for name, scores in card["scores"].items())
        print(
            f"{card['name']}  {card['file']['megabytes']} MB  {card['about']}\n  pixel IoU, held out: {told}",
            flush=True,
        )
    return 0
