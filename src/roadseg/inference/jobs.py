"""Which images are read and which files are written, from the files' headers alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, DataError, OutputError
from ..imagery.layouts import list_images
from ..imagery.opening import open_source
from .planning import Wanted

__all__ = ["Job", "plan_outputs"]

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")  # give PNG; what else there is is a raster and gives TIFF


@dataclass(frozen=True)
class Job:
    """One raster and the files that come of it; `probability` and `uncertainty` are None where none is asked for.

    Attributes:
        source: its file; of a mosaic the first one.
        files: all of its files.
    """

    source: Path
    mask: Path
    probability: Path | None
    height: int
    width: int
    bands: int
    uncertainty: Path | None = None
    files: tuple[Path, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        return self.files or (self.source,)

    @property
    def targets(self) -> list[Path]:
        """The files that are written."""
        return [path for path in (self.mask, self.probability, self.uncertainty) if path is not None]


def plan_outputs(
    inputs: Sequence[Path], out: Path, probabilities: bool = False, *, wanted: Wanted | None = None
) -> list[Job]:
    """What will be read and written; nothing is decoded, predicted or written.

    Args:
        inputs: image files, and folders whose images are meant.
        out: the prediction folder; PNG and JPEG give `x.png`, rasters `x.tif`; probabilities `x_prob.png|tif`,
            uncertainties `x_unc.png|tif`.
        probabilities: over what `wanted` says.
        wanted: of a mosaic all inputs together give one output; which bands are read.

    Raises:
        DataError: no image, an input that cannot be read, or two inputs that would write the same output.
        OutputError: an output would overwrite an input.
        ConfigError: a mosaic's name that is none.
    """
    wanted = wanted or Wanted()
    sources = [image for place in inputs for image in _images(Path(place))]
    if not sources:
        raise DataError("no images to predict: give image files, or folders that hold some")
    groups: list[tuple[str, tuple[Path, ...]]] = [(source.stem, (source,)) for source in sources]
    if wanted.mosaic is not None:
        groups = [(_stem(wanted.mosaic), tuple(sources))]
    jobs: list[Job] = []
    writers: dict[Path, Path] = {}
    originals = {_identity(source): source for source in sources if source.exists()}
    for stem, files in groups:
        source = files[0]
        suffix = ".png" if all(file.suffix.lower() in PICTURES for file in files) else ".tif"
        mask = out / f"{stem}{suffix}"
        probability = out / f"{stem}_prob{suffix}" if probabilities or wanted.probabilities else None
        uncertainty = out / f"{stem}_unc{suffix}" if wanted.uncertainty else None
        for target in (path for path in (mask, probability, uncertainty) if path is not None):
            other = writers.setdefault(target, source)
            if other is not source:
                raise DataError(
                    f"'{other}' and '{source}' would both write '{target}': "
                    "predict them into two folders, rename one, or join them with --mosaic NAME"
                )
            if target.exists() and _identity(target) in originals:
                raise OutputError(
                    f"'{target}' would overwrite the input '{originals[_identity(target)]}': give another --out"
                )
        with open_source(list(files), bands=wanted.bands) as raster:
            size = raster.height, raster.width, raster.bands
        jobs.append(Job(source, mask, probability, *size, uncertainty, files))
    return jobs


def _images(place: Path) -> list[Path]:
    """A file is taken for what it says that it is, whatever its suffix; of a folder, the images."""
    return [place] if place.is_file() else list_images(place)


def _stem(name: str) -> str:
    stem = name.removesuffix(".tif").removesuffix(".png")
    if not stem or Path(stem).name != stem or stem.startswith("."):
        raise ConfigError(f"--mosaic {name!r}: give a name for the output, e.g. city; its folder is --out")
    return stem


def _identity(path: Path) -> tuple[int, int]:
    """The same for every name of a file: other spelling, link, case where the disk ignores it."""
    found = path.stat()
    return found.st_dev, found.st_ino
