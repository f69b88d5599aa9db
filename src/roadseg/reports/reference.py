"""The reference of the configuration, made of `roadseg.settings`: a page of Markdown, and TOML with comments.

python -m roadseg.reports.reference docs/configuration.md

Every key's type, range and default come from its annotation, what it does from the comment on its line.
"""

import ast
import io
import json
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import tomli_w
from msgspec import inspect, structs

from ..config import SHORT, Config, read_config
from ..errors import ConfigError
from ..files import write_text
from ..learning.loss_names import LOSSES
from ..network_names import ENCODERS
from ..settings import PRESETS

__all__ = ["Key", "config_toml", "keys", "reference_page"]

WIDE = 118  # characters of a line of TOML, beyond which its comment goes above it
BARE = re.compile(r"[A-Za-z0-9_-]+")

# What `learning.optimizers` finds in Keras 3.15, which is not loaded for this.
OPTIMIZERS = (
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion", "muon", "nadam", "rmsprop",
    "schedulefreeadamw", "sgd",
)  # fmt: skip

SHORTHAND = {
    "network": '`network = "module:function"` or a .keras file is `network.name`',
    "loss": '`loss = "bce + 0.5 * patch"` is `loss.name`',
    "perturb": '`perturb = "light"` is `perturb.preset`',
}


@dataclass(frozen=True)
class Key:
    """One key of a section.

    Attributes:
        section, name: as in TOML; an effect of `perturb` is one key with a table.
        kind: type and range in words.
        default: as msgspec has it, plain.
        about: what it does.
        type: msgspec's description of the type.
    """

    section: str
    name: str
    kind: str
    default: Any
    about: str
    type: inspect.Type


def keys(section: str | None = None) -> list[Key]:
    """Every key, or those of one section, in the order of `roadseg.settings`.

    Raises:
        ConfigError: no such section.
    """
    found = []
    defaults = Config().to_dict()
    if section is not None and section not in defaults:
        raise ConfigError(f"--section {section}: choose from {', '.join(defaults)}")
    for part in _fields(Config):
        if section in (None, part.name):
            comments = _comments()[part.type.cls.__name__]
            order = {field.name: _literals(field.type) for field in structs.fields(part.type.cls)}
            for field in _fields(part.type.cls):
                name, value = field.name, defaults[part.name][field.name]
                about = comments.get(name, "")
                found.append(Key(part.name, name, _words(field.type, order[name]), value, about, field.type))
    return found


def _fields(struct: type) -> Iterable[Any]:
    described: Any = inspect.type_info(struct)
    return tuple(described.fields)


def section_doc(section: str) -> str:
    """What a section is about, in one line."""
    kinds = {field.name: field.type.cls for field in _fields(Config)}
    return str(kinds[section].__doc__).strip().splitlines()[0]


@lru_cache(maxsize=1)
def _comments() -> dict[str, dict[str, str]]:
    """Class name -> field name -> the comment on the field's line (or lines)."""
    source = resources.files("roadseg").joinpath("settings.py").read_text(encoding="utf-8")
    by_line = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            found[node.name] = {
                field.target.id: " ".join(
                    by_line[n] for n in range(field.lineno, (field.end_lineno or 0) + 1) if n in by_line
                )
                for field in fields
                if isinstance(field.target, ast.Name)
            }
    return found


# --- types in words ---------------------------------------------------------------------------------------------------


def _literals(annotation: Any) -> list[str]:
    """The words that an annotation allows, as they are written there (msgspec sorts them)."""
    parts = get_args(annotation)
    return [part for part in parts if isinstance(part, str)] + [w for part in parts for w in _literals(part)]


def _words(kind: inspect.Type, order: Sequence[str] = ()) -> str:
    """A type and its range in words: "whole number >= 1", "one of a, b"; words in the order of `order`."""
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.StrType):
        return "text"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return ("whole number " if isinstance(kind, inspect.IntType) else "number ") + _range(kind)
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(json.dumps(value) for value in order or kind.values)
    if isinstance(kind, inspect.UnionType):
        others = [_words(t) for t in kind.types if not isinstance(t, inspect.LiteralType)]
        return " or ".join([*others, *(json.dumps(word) for word in order)])
    if isinstance(kind, inspect.ListType):
        plural = {"text": "texts"}.get(_words(kind.item_type).strip(), _words(kind.item_type).strip())
        return "list: " + plural.replace("number", "numbers")
    if isinstance(kind, inspect.StructType):
        return "table: " + ", ".join(f"{field.name}: {_words(field.type)}" for field in _fields(kind.cls))
    return "table"


def _range(kind: Any) -> str:
    low, high = kind.ge if kind.ge is not None else kind.gt, kind.le if kind.le is not None else kind.lt
    if low is None and high is None:
        return ""
    if low is not None and high is not None and high < 1e9:
        if kind.gt is None and kind.lt is None:
            return f"{low:g} to {high:g}"
        left, right = (">" if kind.ge is None else ">="), ("<" if kind.le is None else "<=")
        return f"{left} {low:g} and {right} {high:g}"
    if low is not None:  # an upper end of a thousand millions says: not infinite
        return f"{'>' if kind.ge is None else '>='} {low:g}"
    return f"{'<' if kind.le is None else '<='} {high:g}"


# --- TOML -------------------------------------------------------------------------------------------------------------


def _toml(value: Any) -> str:
    """A value on one line of TOML."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return tomli_w.dumps({"v": value}).partition("=")[2].strip()


def _toml_key(key: str) -> str:
    return key if BARE.fullmatch(key) else _toml(key)


def config_toml(config: Config | None = None, section: str | None = None) -> str:
    """A configuration (the defaults when None), or one section, as TOML: each key with what it does and its range.

    What `perturb.preset` says already is commented out, so that another preset can be written in its place.

    Raises:
        ConfigError: no such section.
    """
    values = (config or Config()).to_dict()
    preset = read_config({"perturb": values["perturb"]["preset"]}).to_dict()["perturb"]
    lines: list[str] = []
    before = None
    for key in keys(section):
        if key.section != before:
            lines += ["", f"# {section_doc(key.section)}", f"[{key.section}]"]
            before = key.section
        # An effect's ranges are the same for all: the page has them.
        kind = "" if isinstance(key.type, inspect.StructType) or key.kind in ("text", "true or false") else key.kind
        comment = f"# {key.about}" + (f" ({kind})" if kind else "")
        line = f"{key.name} = {_toml(values[key.section][key.name])}"
        if key.section == "perturb" and key.name != "preset" and values["perturb"][key.name] == preset[key.name]:
            line = f"# {line}"
        if len(line) + 2 + len(comment) > WIDE:
            lines += [comment, line]
        else:
            lines.append(f"{line}  {comment}")
    return "\n".join(lines[1:]) + "\n"


# --- the page ---------------------------------------------------------------------------------------------------------

HEAD = """# The configuration

<!-- Made by `make docs` from src/roadseg/settings.py: change it there. -->

A TOML file with six sections (`roadseg train DATASET --out RUN --config my.toml`), and single values over it
(`--set network.width=16`, as often as needed; the later one wins). What is left out has its default.
`roadseg config > my.toml` writes all defaults with comments; `RUN/config.toml` has every value that a run used.

An unknown key, a wrong type or a value out of its range is an error that names the key. Numbers end at a thousand
millions.

Three sections can be given by one word, in the file or with `--set`:
"""


SUGGESTED = """## As the data suggests

`train.crop = 0`, `train.batch = 0` and `loss.class_weights = "auto"` are decided when a run begins; it says so in a
line, with the reasons, and writes what it took to `RUN/config.toml`. `roadseg inspect DATASET` and `roadseg train ...
--dry-run` say it beforehand.

- The crop is 256 px where the images allow it (nine tenths of the pixels lie in images with that much on their
  shorter side), else the largest multiple of what the network takes (`2 ** depth`, twice that behind a stem) that
  they have.
- The batch is 8 at 256 px, and as many as give a step about the same number of pixels at another crop, 64 at most;
  fewer where the training images are shown in fewer than two steps, or where a step would take more than a quarter of
  the machine's memory; a multiple of `train.devices`.
- Two classes have no class weights. Several have them where the rarest has less than 5 % of the labelled pixels: the
  inverse square root of each class' share, scaled to a mean of 1 over the pixels.
"""


def reference_page() -> str:
    """The reference as Markdown: a table for each section, the presets, the names that can be given."""
    parts = [HEAD.rstrip("\n"), "", *(f"- {SHORTHAND[section]}" for section in SHORT)]
    for section in Config().to_dict():
        parts += ["", f"## `{section}`", "", section_doc(section), ""]
        own = keys(section)
        plain = [key for key in own if not isinstance(key.type, inspect.StructType)]
        if plain:
            rows = [(f"`{k.name}`", k.kind, f"`{_toml(k.default)}`", k.about) for k in plain]
            parts += _table(("key", "type and range", "default", "what it does"), rows)
        effects = [key for key in own if isinstance(key.type, inspect.StructType)]
        if effects:
            parts += ["", *_effects(effects), "", *_presets()]
        parts += _names(section)
    return "\n".join([*parts, "", SUGGESTED])


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    heads = list(heads)
    body = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {row} |" for row in body)]


def _effects(effects: list[Key]) -> list[str]:
    """The keys of `perturb` that are tables."""
    text = (
        "Each of these is a table, `rotation = { strength = 10, probability = 0.5 }`. `strength` is a number >= 0,\n"
        "drawn anew for each image; `probability`, 0 to 1, is how often it happens at all: 0 is off.\n"
    )
    rows = []
    for key in effects:
        strength = key.default.get("strength")
        shown = "" if strength is None else f"`{_toml(strength)}`"
        rows.append((f"`{key.name}`", shown, f"`{_toml(key.default['probability'])}`", key.about))
    return [*text.splitlines(), "", *_table(("effect", "strength", "probability", "what it does"), rows)]


def _leaves(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _leaves(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def _presets() -> list[str]:
    """What the presets change, beside the defaults."""
    defaults = _leaves(Config().to_dict()["perturb"])
    changes = {name: _leaves(values) for name, values in PRESETS.items()}
    changed = [key for key in defaults if key != "preset" and any(key in values for values in changes.values())]
    rows = []
    for key in changed:
        cells = [f"`{_toml(values[key])}`" if key in values else _toml(defaults[key]) for values in changes.values()]
        rows.append((f"`{key}`", *cells))
    text = "`preset` sets many of them at once; keys that are given beside it stand over it. Those that differ:"
    return [text, "", *_table(("key", *(f"`{name}`" for name in changes)), rows)]


def _names(section: str) -> list[str]:
    """Names that keys of a section take, where they are text."""
    if section == "network":
        names = ", ".join(f"`{name}`" for name in ENCODERS)
        text = f"`network.encoder` is one of {names}. They have five stages: `depth` is 5 at most."
        return ["", *textwrap.wrap(text, 120)]
    if section == "loss":
        rows = [(f"`{name}`", about) for name, about in LOSSES.items()]
        text = "`loss.name` is one of these, or a sum of them with weights:"
        return ["", text, "", *_table(("loss", "what it is"), rows)]
    if section == "train":
        names = ", ".join(f"`{name}`" for name in OPTIMIZERS)
        return ["", *textwrap.wrap(f"`train.optimizer` is one of those that the installed Keras has: {names}.", 120)]
    return []


def main(words: list[str]) -> None:
    """Write the page to the file that is named, or to standard output."""
    if words:
        write_text(Path(words[0]), reference_page())
    else:
        print(reference_page(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
