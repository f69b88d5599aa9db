"""`python -m roadseg.pretraining`: makes the models in the package, verifies their cards, and measures what they bring.

make RECIPE DATA --work DIR --minutes 150      gather, train as far as the time allows; again until it is done
check RECIPE DATA                              is the card true?
robustness RECIPE DATA --work DIR              changed images, as curves for the card
measures RECIPE DATA --work DIR --steps N      what each measure against unlike labels brings
few-shot RECIPE DATA --work DIR --init MODEL --set cil
folds RECIPE DATA --work DIR --init MODEL --set cil
card --work DIR --name NAME                    put further results into the card, and write its page again
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..errors import ConfigError, RoadsegError, RoadsegWarning
from ..files import write_json
from ..weights import FOLDER
from .recipe import Recipe, load_recipe

__all__ = ["main"]

LATER = 3  # exit code: there is something left to do, give the same command again


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m roadseg.pretraining", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument("recipe", metavar="RECIPE", type=Path, help="a TOML file, e.g. recipes/roads.toml")
        sub.add_argument("data", metavar="DATA", type=Path, help="the folder that the recipe's sets lie in")
        sub.add_argument("--without", metavar="SET", nargs="+", default=[], help="sets to leave out")
        return sub

    def in_pieces(sub: argparse.ArgumentParser, steps: int | None, about: str) -> None:
        sub.add_argument(
            "--work", metavar="DIR", type=Path, required=True, help="all that is made; given again: goes on"
        )
        sub.add_argument("--minutes", metavar="M", type=float, help="stop after about as many, to go on another time")
        sub.add_argument("--steps", metavar="N", type=int, default=steps, help=about)

    making = command("make", "make a model of the package, as far as the time allows")
    in_pieces(making, None, "length of the whole training (the recipe's)")
    making.add_argument("--init", metavar="MODEL", type=Path, help="a model to start from")
    making.add_argument("--off", metavar="MEASURE", nargs="+", default=[], help="measures to leave out")
    making.add_argument("--install", action="store_true", help="copy the model into the package")

    checking = command("check", "verify a card: its hashes, and every score again")
    checking.add_argument("--name", metavar="NAME", help="of the model (the recipe's)")

    robust = command("robustness", "scores of changed images")
    robust.add_argument("--work", metavar="DIR", type=Path, required=True, help="where robustness.json and .html go")
    robust.add_argument("--model", metavar="MODEL", type=Path, help="a model (the one in DIR/model)")
    robust.add_argument("--most", metavar="N", type=int, default=12, help="images a set (12)")

    study = command("measures", "what each measure against unlike labels brings")
    in_pieces(study, 600, "length of each training (600)")

    few = command("few-shot", "a few images: from scratch against begun with a model")
    in_pieces(few, 300, "length of each training (300)")
    few.add_argument("--init", metavar="MODEL", required=True, help="a model that has not seen the set")
    few.add_argument("--set", metavar="SET", required=True, help="of the recipe")
    few.add_argument("--counts", metavar="N", type=int, nargs="+", help="numbers of images (2 5 10 20 50)")
    few.add_argument("--seeds", metavar="N", type=int, default=3, help="draws of the images (3)")
    few.add_argument(
        "--with",
        metavar="KEY=VALUE",
        dest="assignments",
        action="append",
        default=[],
        help="a setting of the trainings that begin with the model, e.g. train.learning_rate=5e-4",
    )

    folds = command("folds", "a cross-validation from scratch and from a model")
    in_pieces(folds, 3000, "length of each training (3000)")
    folds.add_argument("--init", metavar="MODEL", required=True, help="a model that has not seen the set")
    folds.add_argument("--set", metavar="SET", required=True, help="of the recipe")
    folds.add_argument("--folds", metavar="N", type=int, default=5)
    folds.add_argument("--fold-seed", metavar="S", type=int, default=43)

    card = commands.add_parser("card", help="put further results of a work folder into the card")
    card.add_argument("--work", metavar="DIR", type=Path, required=True)
    card.add_argument("--name", metavar="NAME", required=True)
    card.add_argument("--install", action="store_true", help="copy the model into the package")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 done, 2 bad input or a card that is not true, 3 something left to do, 130 interrupted."""
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", RoadsegWarning)
            return _run(args)
    except KeyboardInterrupt as stop:
        print(f"\ninterrupted{': ' + str(stop) if str(stop) else ''}", file=sys.stderr)
        return 130
    except RoadsegError as error:
        print(f"{args.command}: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    tell = partial(print, flush=True)
    if args.command == "card":
        from .make import extras_of
        from .packing import Packed, install, refresh_card

        files = Packed.at(args.work / "model", args.name)
        refresh_card(files, extras_of(args.work))
        if args.install:
            install(files, FOLDER)
        tell(f"card: {files.page}")
        return 0
    steps = args.steps if args.command == "make" else None
    recipe = load_recipe(args.recipe, steps).without(args.without)
    if args.command == "make":
        from .make import make

        files_made = make(
            recipe.without_measures(args.off), args.data, args.work, minutes=args.minutes, init=args.init,
            into=FOLDER if args.install else None, tell=tell,
        )  # fmt: skip
        return 0 if files_made else LATER
    if args.command == "check":
        from .make import check

        wrong = check(args.name or recipe.name, recipe, args.data, tell=tell)
        for line in wrong:
            print(f"not as the card says: {line}", file=sys.stderr)
        tell(f"{len(wrong)} differences" if wrong else "the card is true")
        return 2 if wrong else 0
    return _measure(args, recipe)


def _measure(args: argparse.Namespace, recipe: Recipe) -> int:
    tell = partial(print, flush=True)
    if args.command == "robustness":
        from ..inference.predictor import load_predictor
        from .robustness import measure_robustness, robustness_page
        from .scoring import held_out

        model = args.model or args.work / "model" / f"{recipe.name}.keras"
        parts, _, _ = held_out(args.data, recipe, args.most)
        found = measure_robustness(load_predictor(model, engine="openvino"), parts, tell=tell)
        write_json(args.work / "robustness.json", found)
        tell(f"curves -> {robustness_page(args.work / 'robustness.html', recipe.name, found)}")
        return 0
    if args.command == "folds":
        from .folds import compare_folds

        one = next((one for one in recipe.sets if one.name == args.set), None)
        if one is None:
            raise ConfigError(f"--set {args.set}: no set of the recipe")
        told = compare_folds(
            args.data / one.folder, args.work, args.init, recipe.configuration(args.steps),
            folds=args.folds, fold_seed=args.fold_seed, name=one.name,
        )  # fmt: skip
        tell(f"mean {told['init_mean']:.4f} against {told['scratch_mean']:.4f} from scratch: {told['difference']:+.4f}")
        return 0
    if args.command == "measures":
        from .measures import measures_study

        study = measures_study(recipe, args.data, args.work, args.steps, minutes=args.minutes, tell=tell)
        if study is None:
            return LATER
        write_json(args.work / "measures.json", study)
        return 0
    from .few_shot import COUNTS, few_shot

    curve = few_shot(
        recipe, args.data, args.work, args.init, args.set, steps=args.steps, counts=args.counts or COUNTS,
        seeds=args.seeds, assignments=args.assignments, minutes=args.minutes, tell=tell,
    )  # fmt: skip
    if curve is None:
        return LATER
    write_json(args.work / "few_shot.json", curve)
    return 0


if __name__ == "__main__":
    sys.exit(main())
