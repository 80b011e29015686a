from pathlib import Path

import pytest

from story_model.workspace import contained, run_folder


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../out", "..\\out", "link/secret"])
def test_a_name_from_data_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leaves"):
        contained(root, name)


def test_windows_separators_are_separators(tmp_path: Path) -> None:
    assert contained(tmp_path, "a\\b.jpg") == (tmp_path / "a" / "b.jpg").resolve()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/tmp"])
def test_a_run_s_name_is_a_plain_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a plain folder name"):
        run_folder(tmp_path, name)
