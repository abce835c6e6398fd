"""What an import found, as lines to read or to search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from perception.checkpoints.importer import ImportedCheckpoint


def report(imported: ImportedCheckpoint) -> str:
    """Counts of what fits and doesn't, all names that don't, and what was converted and left out."""
    comparison = imported.comparison
    unexpected = [imported.origins[name] for name in comparison.unexpected]
    lines = [
        f"{imported.source}: layout of {imported.layout.name}",
        f"configuration: {_shown(imported.config)}",
        *(f"  the same tensors as {_shown(config)}" for config in imported.as_good),
        *_section("loaded", len(comparison.loaded), _modules(comparison.loaded)),
        *_section("missing", len(comparison.missing), comparison.missing),
        *_section("unexpected", len(unexpected), unexpected),
        *_section("wrong shape", len(comparison.misshapen), comparison.misshapen),
        *_section("converted", None, imported.converted),
        *_section("skipped", None, imported.skipped),
    ]
    return "\n".join(lines)


def _section(title: str, count: int | None, details: Iterable[str]) -> Iterator[str]:
    details = list(details)
    yield f"{title}: {count}" if count is not None else f"{title}: {'' if details else 'nothing'}".rstrip()
    yield from (f"  {detail}" for detail in details)


def _modules(names: Iterable[str]) -> list[str]:
    """How many tensors each module has, two levels deep: nobody reads hundreds of names of what is in order."""
    counts = Counter(".".join(name.split(".")[:2]) for name in names)
    return [f"{module} {count}" for module, count in counts.items()]


def _shown(path: Path) -> str:
    """Relative to the working directory where it is below that."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
