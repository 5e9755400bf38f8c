import pytest

from mvs.stages.match import match_views
from mvs.stages.pairs import choose_pairs
from tests.scenes import make_scene


@pytest.fixture(scope="session")
def scene():
    return make_scene(6, 128)


@pytest.fixture(scope="session")
def pairs(scene):
    return choose_pairs(scene.cameras, scene.center)


@pytest.fixture(scope="session")
def matches(scene, pairs):
    return match_views(scene.cube_maps, scene.cameras, pairs)
