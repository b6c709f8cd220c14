"""Short forms of what bench/ does at length."""

import asyncio

import pytest

from bench import bad_inputs, faults, hostile_pictures, known
from tests.e2e.running import NewServer, Server

pytestmark = pytest.mark.e2e


def test_hundreds_of_bad_inputs_are_refused_and_spoil_no_good_one(server: Server) -> None:
    hostile_pictures.make_all()
    goods = asyncio.run(known.learn(server))
    outcome = asyncio.run(bad_inputs.attack(server, goods, count=300, seed=1))
    assert outcome.faults == []
    assert outcome.good.statuses.keys() == {200}, outcome.good.text()
    assert outcome.good.wrong == []
    assert server.read("/v1/health") == {"status": "ok", "ready": True}


def test_uploads_that_end_half_way_give_their_places_back(new_server: NewServer) -> None:
    server = new_server(FACEBENTO_MAX_IN_FLIGHT="4")
    server.start()
    goods = asyncio.run(known.learn(server))
    assert asyncio.run(faults.gone(server, goods)).statuses.keys() == {200}
    assert server.stop() == 0
