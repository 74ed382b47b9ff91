from __future__ import annotations

import pytest
from tests.unit.inception.weights import write_weights

from marlin_sdk.inception.network import Inception, load_inception


@pytest.fixture(scope="session")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Inception:
    """The network with random weights."""
    return load_inception(write_weights(tmp_path_factory.mktemp("inception") / "random.pth"), device="cpu")
