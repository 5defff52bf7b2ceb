"""Topics: one device's, by the names of the contract."""

from __future__ import annotations

import pytest

from edge_agent.mqtt.contract.topics import Topics


def test_topics_are_below_base_and_device() -> None:
    topics = Topics("home/cams", "porch-1")
    assert topics.availability == "home/cams/porch-1/availability"
    assert topics.state == "home/cams/porch-1/state"
    assert topics.event == "home/cams/porch-1/event"
    assert topics.prediction == "home/cams/porch-1/prediction"
    assert topics.health == "home/cams/porch-1/health"
    assert topics.info == "home/cams/porch-1/info"
    assert topics.image == "home/cams/porch-1/image"
    assert topics.request("config/get") == "home/cams/porch-1/request/config/get"
    assert topics.response("pause") == "home/cams/porch-1/response/pause"


@pytest.mark.parametrize("device_id", ["", "a/b", "+", "#", "ü", "two words", "a\n"])
def test_a_device_id_that_cannot_stand_in_a_topic_is_refused(device_id: str) -> None:
    with pytest.raises(ValueError, match="device id"):
        Topics("edge_agent", device_id)
