from pathlib import Path

import pytest
from published import Published


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """Toy networks, nothing of them written yet."""
    return Published(tmp_path / "pretrained")
