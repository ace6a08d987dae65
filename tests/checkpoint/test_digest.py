import hashlib
import subprocess

from ossia.checkpoint.digest import hub_digest


def test_both_hashes(tmp_path):
    content = bytes(range(256)) * 40_000  # more than one chunk
    path = tmp_path / "file"
    path.write_bytes(content)
    counts: list[int] = []
    assert (
        hub_digest(path, is_lfs=True, progress=counts.append) == hashlib.sha256(content).hexdigest()
    )
    assert counts == sorted(counts)
    assert counts[-1] == len(content)
    git = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True)
    assert hub_digest(path, is_lfs=False, progress=counts.append) == git.stdout.strip()


def test_of_nothing(tmp_path):
    (tmp_path / "empty").touch()
    # The id that git gives every empty file.
    expected = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert hub_digest(tmp_path / "empty", is_lfs=False, progress=lambda done: None) == expected
