"""Virtual rasters (.vrt): what one points to, and whether that is images on this machine. GDAL follows it afterwards.

A virtual raster can name addresses, raw parts of any file, and code to run; one from a stranger is no image but a
program. What is followed here are images on this machine.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # expat since 2.4 limits what entities become, and none are let in here
from collections.abc import Iterator
from pathlib import Path

from ..errors import ImageError
from .formats import PLAIN_STARTS, kind_of

__all__ = ["check_virtual"]

LARGEST = 2**28  # bytes of XML: some 500,000 files
DEPTH = 8  # of virtual rasters of virtual rasters
POINTERS = ("SourceFilename", "SourceDataset")
REFUSED = {
    "VRTRawRasterBand": "reads bytes of any file as pixels",
    "Python": "runs code",
}
NOTES = ("SRS", "Description", "Category", "UnitType")  # may hold an address that nobody follows


def check_virtual(path: Path, depth: int = 0) -> None:
    """Refuse a virtual raster that points to anything but images on this machine.

    Raises:
        ImageError: no XML; an address or a special name of GDAL's; a file that is missing or no image; code.
    """
    if depth > DEPTH:
        raise ImageError(
            f"'{path}' is a virtual raster of virtual rasters, {DEPTH} deep and more: does one hold itself?"
        )
    if path.stat().st_size > LARGEST:
        raise ImageError(f"virtual raster '{path}' is larger than {LARGEST >> 20} MB: make one of fewer files")
    text = path.read_bytes()
    try:
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise ET.ParseError("it defines entities")
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ImageError(f"virtual raster '{path}' is damaged ({error}): make it again") from error
    seen: set[Path] = set()
    for element, said in _texts(root):
        if (why := REFUSED.get(said)) is not None:
            raise ImageError(f"virtual raster '{path}' {why} ({said}): save what it shows as a TIFF")
        if element.tag in POINTERS:
            target = _local(path, said, element.get("relativeToVRT") == "1")
            if target not in seen:
                seen.add(target)
                _check_target(path, target, depth)
        elif "/vsi" in said or ("://" in said and element.tag not in NOTES):
            raise _elsewhere(path, said)


def _texts(root: ET.Element) -> Iterator[tuple[ET.Element, str]]:
    """Every text with its element, and every attribute; notes of the default domain, which nothing reads, left out."""
    plain = {id(note) for part in root.iter("Metadata") if not part.get("domain") for note in part.iter("MDI")}
    for element in root.iter():
        if id(element) in plain:
            continue
        if (element.text or "").strip():
            yield element, (element.text or "").strip()
        for said in element.attrib.values():
            yield ET.Element("attribute"), said


def _local(path: Path, said: str, relative: bool) -> Path:
    """The file that is meant."""
    if "://" in said or said.startswith("/vsi") or "\0" in said or said.startswith("<"):
        raise _elsewhere(path, said)
    return path.parent / said if relative else Path(said)


def _check_target(path: Path, target: Path, depth: int) -> None:
    if not target.is_file():
        what = "a special name of GDAL's" if ":" in target.name else "a file that does not exist"
        raise ImageError(f"virtual raster '{path}' points to '{target}', {what}: mend its paths, or make it again")
    kind = kind_of(target)
    if kind == "VRT":
        check_virtual(target, depth + 1)
    elif kind == "Pillow":
        with target.open("rb") as file:
            start = file.read(16)
        if not start.startswith(PLAIN_STARTS):
            raise ImageError(f"virtual raster '{path}' points to '{target}', which is no image that is followed")


def _elsewhere(path: Path, said: str) -> ImageError:
    return ImageError(
        f"virtual raster '{path}' points to '{said[:100]}': only files on this machine are followed; fetch it first"
    )
