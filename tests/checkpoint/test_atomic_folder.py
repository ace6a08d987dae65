from pathlib import Path

import pytest

from ossia.checkpoint.atomic_folder import atomic_folder
from ossia.errors import CheckpointError, ModelNotFoundError

MARK = "config.json"


def fill(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / MARK).write_text(text)


def fill_and_fail(folder: Path) -> None:
    fill(folder, "new")
    raise RuntimeError


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("exists", [True, False])
def test_appears_when_done(tmp_path, exists):
    target = tmp_path / "deep" / "target"
    if exists:
        target.mkdir(parents=True)
    with atomic_folder(target) as partial:
        fill(partial, "new")
        assert not (target / MARK).exists()
    assert (target / MARK).read_text() == "new"
    assert left_over(target.parent) == ["target"]


def test_nothing_stays_of_a_failure(tmp_path):
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "target") as partial:
        fill_and_fail(partial)
    assert left_over(tmp_path) == []


def test_replaces_only_what_it_was_told_to(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    with pytest.raises(CheckpointError, match="is not empty"), atomic_folder(target):
        pytest.fail("must not start")
    with (
        pytest.raises(CheckpointError, match="holds no other"),
        atomic_folder(target, replaces="other"),
    ):
        pytest.fail("must not start")
    with atomic_folder(target, replaces=MARK) as partial:
        fill(partial, "new")
    assert (target / MARK).read_text() == "new"
    assert left_over(tmp_path) == ["target"]


def test_the_old_one_survives_a_failure(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    with pytest.raises(RuntimeError), atomic_folder(target, replaces=MARK) as partial:
        fill_and_fail(partial)
    assert (target / MARK).read_text() == "old"
    assert left_over(tmp_path) == ["target"]


def test_the_old_one_survives_a_failed_rename(tmp_path, monkeypatch):
    target = tmp_path / "target"
    fill(target, "old")
    rename = Path.rename

    def fail_once(path: Path, goal: Path) -> Path:
        if path.suffix == ".partial":
            raise OSError(5, "no luck")
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", fail_once)
    with (
        pytest.raises(CheckpointError, match="cannot be written: no luck"),
        atomic_folder(target, replaces=MARK) as partial,
    ):
        fill(partial, "new")
    assert (target / MARK).read_text() == "old"
    assert left_over(tmp_path) == ["target"]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "target").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file"), atomic_folder(tmp_path / "target"):
        pytest.fail("must not start")
    with (
        pytest.raises(CheckpointError, match="cannot be written"),
        atomic_folder(tmp_path / "target" / "below"),
    ):
        pytest.fail("must not start")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_folder(tmp_path / "link") as partial:
        fill(partial, "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / MARK).read_text() == "new"


def test_own_errors_pass_through(tmp_path):
    with pytest.raises(ModelNotFoundError, match="mine"), atomic_folder(tmp_path / "target"):
        raise ModelNotFoundError("mine")
