"""Shared fixtures. Real images are used where a folder with them is at hand; nothing of them is in the repository."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("roadseg", deadline=None)  # no test asserts wall time: machines are not alike
settings.load_profile("roadseg")

DATA = Path(os.environ.get("ROADSEG_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Converted models go to a folder of the session, not to the user's cache; processes that tests start follow."""
    os.environ["ROADSEG_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real image sets (ROADSEG_DATA); the test is skipped where there is none."""
    if not DATA.is_dir():
        pytest.skip("no real images here: set ROADSEG_DATA to a folder with cil/, membrane/, ...")
    return DATA
