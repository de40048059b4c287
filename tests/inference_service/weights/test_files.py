from __future__ import annotations

from pathlib import Path

import pytest

from inference_service.weights.files import WeightHomes, resolve_weights
from jan.errors import FailedPreconditionError, NotFoundError


@pytest.mark.parametrize(
    "name", ["../demo/demo.gguf", "/etc/passwd", "a/../../b", "", "a\\b", "a\0b", "a\nb", "\udcff"]
)
def test_names_stay_in_the_models_folder(models_dir: Path, name: str) -> None:
    with pytest.raises(FailedPreconditionError):
        resolve_weights(models_dir / "demo", "demo", [name])


def test_a_link_to_a_big_disk_is_followed(models_dir: Path) -> None:
    assert resolve_weights(models_dir / "demo", "demo", ["demo.gguf"]) == [models_dir / "demo" / "demo.gguf"]


def test_a_missing_file_is_named(models_dir: Path) -> None:
    with pytest.raises(NotFoundError, match=r"other\.gguf"):
        resolve_weights(models_dir / "demo", "demo", ["other.gguf"])


def test_a_loop_of_links_is_no_file(models_dir: Path) -> None:
    (models_dir / "demo/loop.gguf").symlink_to("loop.gguf")
    (models_dir / "loop").symlink_to("loop")
    for folder, name in ((models_dir / "demo", "loop.gguf"), (models_dir / "loop", "m.gguf")):
        with pytest.raises(NotFoundError, match=r"\.gguf of model demo is missing"):
            resolve_weights(folder, "demo", [name])


def test_a_model_without_files_is_refused(models_dir: Path) -> None:
    with pytest.raises(FailedPreconditionError):
        resolve_weights(models_dir / "demo", "demo", [])


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("", "weights/vendor/demo"),
        ("models/vendor", "weights/vendor"),
        ("models", "weights"),
        ("llamacpp/models/org/demo", "janroot/llamacpp/models/org/demo"),
        ("assistants/bard/models/demo", "janroot/assistants/bard/models/demo"),
        ("mlx/models/demo", "janroot/mlx/models/demo"),
    ],
)
def test_a_model_may_lie_where_its_jan_had_it(tmp_path: Path, folder: str, place: str) -> None:
    homes = WeightHomes(tmp_path / "weights", tmp_path / "janroot")
    assert homes.folder("vendor/demo", folder) == tmp_path / place


@pytest.mark.parametrize(
    "folder",
    ["/etc", "..", "models/../threads", "threads/x", "llamacpp/models/../../x", "modelsx", "assistants/bard/x"],
)
def test_a_model_lies_nowhere_else(tmp_path: Path, folder: str) -> None:
    with pytest.raises(FailedPreconditionError):
        WeightHomes(tmp_path, tmp_path).folder("demo", folder)
