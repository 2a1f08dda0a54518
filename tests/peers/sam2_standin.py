"""The names of hydra and iopath that `sam2` imports and that a model built by hand never calls."""

import importlib.util
import sys
from types import ModuleType
from typing import Any


def install_sam2_standin() -> None:
    """Make `import hydra` and `import iopath` give these names. Does nothing where the real packages are there."""
    if "hydra" not in sys.modules and importlib.util.find_spec("hydra") is None:
        _module("hydra.core.global_hydra", GlobalHydra=_GlobalHydra)
        _module("hydra.core")
        _module("hydra", initialize_config_module=_nothing)
    if "iopath" not in sys.modules and importlib.util.find_spec("iopath") is None:
        _module("iopath.common.file_io", g_pathmgr=None)
        _module("iopath.common")
        _module("iopath")


class _GlobalHydra:
    @staticmethod
    def instance() -> "_GlobalHydra":
        return _GlobalHydra()

    def is_initialized(self) -> bool:
        return True


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _module(name: str, **contents: object) -> None:
    module = ModuleType(name)
    module.__path__ = []
    vars(module).update(contents)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    sys.modules[name] = module
