"""Files are whole or not there; what cannot be written is an OutputError that names it."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from roadseg.errors import OutputError
from roadseg.files import make_folder, write_aside, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_it_is_finished(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    with write_aside(path) as aside:
        assert aside.parent == path.parent and aside.suffix == ".txt" and aside != path
        aside.write_text("hello")
        assert not path.exists()
    assert path.read_text() == "hello"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, kind):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(kind), write_aside(path) as aside:
        aside.write_text("half")
        raise kind
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_an_output_error_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"a\.txt.*No space left"), write_aside(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_file_in_the_folders_place_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for write in (lambda p: write_text(p, "y"), lambda p: write_json(p, 1)):
        with pytest.raises(OutputError, match=r"b\.txt"):
            write(tmp_path / "file" / "b.txt")
        with pytest.raises(OutputError, match=r"b\.txt"):
            write(tmp_path / "file" / "deeper" / "b.txt")
    with pytest.raises(OutputError, match=r"'.*file' is a file: give a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="file/deeper"):
        make_folder(tmp_path / "file" / "deeper")


def test_a_folder_in_the_files_place_is_an_output_error(tmp_path):
    (tmp_path / "a.txt" / "inner").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a\.txt"):
        write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="a superuser may write anywhere")
def test_a_folder_without_permission_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            write_text(tmp_path / "a.txt", "x")
        with pytest.raises(OutputError, match="Permission denied"):
            make_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_file_has_the_permissions_of_an_ordinary_one(tmp_path):
    (tmp_path / "ordinary").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "a.txt", "Größe\nzwei\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe\nzwei\n".encode()


def test_json_reads_back(tmp_path):
    value = {"a": [1, 2.5, None, True], "ß": "straße"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value and text.endswith("}\n") and "straße" in text


@pytest.mark.parametrize("name", ["x" * 240 + ".txt", "ß" * 120 + ".png", ".hidden", "no suffix", "a b;c$.tar.gz"])
def test_any_name_a_file_can_have_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path):
    path = tmp_path / "a.txt"
    texts = [str(k) * 20000 for k in range(8)]
    writers = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_made_and_may_be_there(tmp_path):
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == folder and folder.is_dir()
    (folder / "x").write_text("x")
    make_folder(folder)
    assert names(folder) == ["x"]
