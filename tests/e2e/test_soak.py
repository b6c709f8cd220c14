"""A short form of what bench/bad_inputs.py does at length."""

import asyncio

import pytest

from bench import bad_inputs, hostile_pictures, known
from tests.e2e.running import Server

pytestmark = pytest.mark.e2e


def test_hundreds_of_bad_inputs_are_refused_and_spoil_no_good_one(server: Server) -> None:
    hostile_pictures.make_all()
    goods = asyncio.run(known.learn(server))
    outcome = asyncio.run(bad_inputs.attack(server, goods, count=300, seed=1))
    assert outcome.faults == []
    assert outcome.good.statuses.keys() == {200}, outcome.good.text()
    assert outcome.good.wrong == []
    assert server.read("/v1/health") == {"status": "ok", "ready": True}
