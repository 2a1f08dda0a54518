"""What the tests of models on disk share."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from model.config import nano
from model.sam import Sam, build_sam


@pytest.fixture(scope="session")
def nano_sam() -> Sam:
    """The smallest architecture that is recognised, with random weights."""
    torch.manual_seed(0)
    return build_sam(nano())


@pytest.fixture(scope="session")
def nano_pth(nano_sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights as a file of `torch.save`."""
    path = tmp_path_factory.mktemp("published") / "nano.pth"
    torch.save(nano_sam.state_dict(), path)
    return path


@pytest.fixture
def limit_files_to() -> Iterator[Callable[[int], None]]:
    """Make writing a file beyond so many bytes fail, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
