import pytest

from mvs.synthetic.head import load_head
from mvs.synthetic.scene import Studio
from tests.shared import ICT
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
    if not ICT.is_file():
        pytest.skip(f"{ICT} is absent")
    return ICT
