"""Compiles the hot path with mypyc (see `hotpath`); everything else about the package stands in pyproject.toml.

Without a C compiler, or without mypyc in the build environment, the package installs all the same and runs from source.
"""

import json
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from hotpath import FLUSH_LOOP, MANIFEST, MODULES, source_digests  # noqa: E402


class CompileHotPath(build_ext):
    """Compiles what mypyc has written into a folder of its own: beside its source Python would prefer it, always."""

    folder = Path()

    def get_ext_fullpath(self, ext_name: str) -> str:
        return str(self.folder / f"{ext_name}{EXTENSION_SUFFIXES[0]}")


class BuildHotPath(build_ext):
    """Fills the folder `hotpath`: that of the sources for an editable install, else that of the wheel."""

    def run(self) -> None:
        folder = (ROOT if self.inplace or self.editable_mode else Path(self.build_lib)) / "hotpath"
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / MANIFEST
        manifest.unlink(missing_ok=True)
        try:
            # Only now, because a build asks setup.py for metadata several times.
            self.distribution.ext_modules = extensions()
            command = CompileHotPath(self.distribution)
            command.folder = folder
            command.ensure_finalized()
            command.run()
        except (ImportError, CompileError, LinkError, SystemExit) as error:
            print(f"the hot path is not compiled and will run from source: {error!r}", file=sys.stderr)
            return
        manifest.write_text(json.dumps(source_digests(ROOT), indent=1) + "\n")

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


def extensions() -> list[Extension]:
    """Have mypyc write the C code.  Raises ImportError without mypyc, SystemExit where a source can't be compiled."""
    from mypyc.build import mypycify  # noqa: PLC0415  may be missing, and is wanted only for a build

    sources = [f"{name.replace('.', '/')}.py" for name in MODULES]
    compiled = mypycify(["--ignore-missing-imports", *sources], opt_level="3", group_name="hotpath")
    return [*compiled, Extension(FLUSH_LOOP, [f"hotpath/{FLUSH_LOOP}.c"])]


# Stands for the extensions that mypyc will name: the package has compiled parts.
setup(ext_modules=[Extension("hotpath", [])], cmdclass={"build_ext": BuildHotPath})
