"""The arithmetic of benchmarks/country.py, and the simulation beside it with a few tasks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import python

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def country(*words: str) -> list[dict[str, Any]]:
    done = python(str(BENCHMARKS / "country.py"), "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_sums_are_those_one_would_do_by_hand() -> None:
    # 10,000 km2 at 0.5 m: 4e10 px; at 2 Mpx/s on 2 cores, a tenth of it lost: 0.9 Mpx/s a core.
    fine, coarse = country("--area-km2", "10000", "--resolution", "0.5", "1", "--mpx-s", "2", "--cores", "2")
    assert fine["gigapixels"] == pytest.approx(40)
    assert fine["core_hours"] == pytest.approx(40e9 / 0.9e6 / 3600)
    assert fine["hours"] == pytest.approx(fine["core_hours"] / 800)
    assert fine["columns"] == 5 and fine["images_raw_gb"] == pytest.approx(120)
    assert fine["strips"] >= fine["tasks"] >= 800  # columns of 40,000 x 200,000 px, rows of windows about 900 px apart
    assert fine["tasks"] * fine["task_s"] * 8 == pytest.approx(fine["core_hours"] * 3600)
    for name in ("gigapixels", "core_hours", "masks_gb"):
        assert fine[name] == pytest.approx(4 * coarse[name])


def test_tta_costs_eight_times_as_much() -> None:
    words = ("--area-km2", "500", "--resolution", "0.25", "--mpx-s", "2.5", "--cores", "4")
    (once,), (often,) = country(*words), country(*words, "--times", "8")
    assert often["core_hours"] == pytest.approx(8 * once["core_hours"]) and often["strips"] == once["strips"]


def test_without_json_it_is_a_table() -> None:
    done = python(str(BENCHMARKS / "country.py"), "--area-km2", "100", "--mpx-s", "2", "--cores", "2")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("| 100 km² | 0.1 m |") and len({line.count("|") for line in lines}) == 1


def test_the_scheduler_s_load_is_measured() -> None:
    pytest.importorskip("distributed")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "scheduler_load.py"), "--tasks", "40", "--workers", "3", "--processes", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["tasks"], one["at_once"]) for one in found] == [(40, False)]
    assert all(one["tasks_s"] > 0 and one["scheduler_mb_most"] >= one["scheduler_mb_before"] > 0 for one in found)
