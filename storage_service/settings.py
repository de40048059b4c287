"""The storage service's settings, read once from the environment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jan.settings import CommonSettings, Environment, SettingsError
from storage_service.store import seed, trash
from storage_service.store.pulls import cache


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """The storage service's settings.

    demo_weights: the GGUF that a new janroot is given as its first model; None for no model. trash_days: how long a
    deletion can be undone. hf_cache: a Hugging Face cache, whose files need no download; None for none. import_paths:
    the folders that models may be imported from.
    """

    common: CommonSettings
    demo_weights: Path | None
    trash_days: int = trash.DEFAULT_DAYS
    hf_cache: Path | None = None
    import_paths: tuple[Path, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read every variable. Raises SettingsError: a value that cannot be used."""
        environment = Environment(environ)
        return cls(
            common=CommonSettings.from_environment(environment),
            demo_weights=seed.find_demo_weights(environ),
            trash_days=environment.integer("JANROOT_TRASH_DAYS", trash.DEFAULT_DAYS, 0, 36500),
            hf_cache=_hf_cache(environment),
            import_paths=tuple(_import_paths(environment.text("JANROOT_IMPORT_PATHS", ""))),
        )


def _hf_cache(environment: Environment) -> Path | None:
    """`JANROOT_HF_CACHE`, else this user's own cache, if there is one."""
    named = environment.text("JANROOT_HF_CACHE", "")
    return environment.path("JANROOT_HF_CACHE", "") if named else cache.default_folder(environment.values)


def _import_paths(text: str) -> Iterator[Path]:
    """Absolute folders with colons between them, as in PATH. Raises SettingsError: one that is not absolute."""
    for item in filter(None, map(str.strip, text.split(":"))):
        path = Path(item).expanduser()
        if not path.is_absolute() or ".." in path.parts:
            raise SettingsError(f"JANROOT_IMPORT_PATHS has {item!r}: it must be absolute folders, a colon between two.")
        yield path
