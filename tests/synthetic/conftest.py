import os
from pathlib import Path

import pytest

from mvs.synthetic.head import load_head
from mvs.synthetic.scene import Studio
from tests.synthetic.heads import write_head


@pytest.fixture(scope="session")
def head_file(tmp_path_factory):
    return write_head(tmp_path_factory.mktemp("head") / "head.npz")


@pytest.fixture(scope="session")
def studio(head_file):
    return Studio(load_head(head_file))


@pytest.fixture(scope="session")
def real_head_file():
    """The packed ICT-FaceKit head, where it is at hand."""
    path = Path(os.environ.get("HEADMVS_SHARED", "absent")) / "data" / "ict" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("HEADMVS_SHARED names no folder with data/ict/ict_facekit.npz")
    return path
