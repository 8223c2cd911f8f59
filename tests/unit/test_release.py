"""All parts of a release have the same version."""

import shutil
from pathlib import Path

import pytest

import release


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("VERSION", "CHANGELOG.md", *release.PLACES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release.ROOT / name, tmp_path / name)
    return tmp_path


def test_all_files_have_the_same_version_and_the_changelog_has_its_section() -> None:
    release.check()


@pytest.mark.parametrize("name", release.PLACES)
def test_the_check_of_versions_names_a_file_with_another_version(tree: Path, name: str) -> None:
    stale = (tree / name).read_text(encoding="utf-8").replace(release.version(), "0.0.9")
    (tree / name).write_text(stale, encoding="utf-8")
    with pytest.raises(release.ReleaseError, match=f"^{name}: the version is not that of VERSION"):
        release.check(tree)


def test_a_new_version_is_written_everywhere_and_needs_a_changelog_section(tree: Path) -> None:
    (tree / "VERSION").write_text("7.8.9\n", encoding="utf-8")
    for path, text in release.copies(tree).items():
        assert "7.8.9" in text
        assert release.version() not in text
        path.write_text(text, encoding="utf-8")
    with pytest.raises(release.ReleaseError, match=r"begins with: ## 7\.8\.9$"):
        release.check(tree)


def test_the_check_of_versions_names_a_file_that_lacks_its_version_line(tree: Path) -> None:
    (tree / "worker_image/pyproject.toml").write_text("[project]\n", encoding="utf-8")
    with pytest.raises(release.ReleaseError, match=r"^worker_image/pyproject.toml: no line matches"):
        release.copies(tree)
