"""Regions in the configuration: boxes by name, with clear errors that say no name in public."""

from __future__ import annotations

import pytest

from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.render import masked
from edge_agent.config.schema import Config, RegionConfig

SOURCE = "source: {type: rtsp, rtsp: {url: 'rtsp://camera/live'}}\n"


def read(regions: str) -> Config:
    return parse(f"{SOURCE}regions: {regions}\n", "edge-agent.yaml", hostname="pi")


def test_each_region_is_a_section_under_its_name() -> None:
    config = read("{gate: {box: [0.1, 0.2, 0.3, 0.4], priority: 4}, door: {box: [0, 0, 1, 1]}}")
    assert config.regions == {"gate": RegionConfig((0.1, 0.2, 0.3, 0.4), 4), "door": RegionConfig()}
    assert config.watched == ("gate", "door")
    assert masked(config)["regions"]["gate"] == {"box": [0.1, 0.2, 0.3, 0.4], "priority": 4, "polygon": []}


def test_a_region_may_be_a_polygon() -> None:
    config = read("{gate: {polygon: [0.1, 0.1, 0.9, 0.2, 0.5, 0.9]}}")
    assert config.regions["gate"].polygon == (0.1, 0.1, 0.9, 0.2, 0.5, 0.9)


def test_without_regions_the_whole_picture_is_watched() -> None:
    assert (read("").regions, read("{}").watched) == ({}, ("",))


@pytest.mark.parametrize(
    ("regions", "problem"),
    [
        ("{gate: {box: [0.5, 0, 0.6, 1]}}", "regions.gate.box: reaches beyond the picture"),
        ("{gate: {box: [0, 0, 0, 1]}}", "regions.gate.box: must have a width and a height above 0"),
        (
            "{gate: {box: [0, 0, 1]}}",
            "regions.gate.box: must be four numbers, [left, top, width, height], not 3",
        ),
        ("{gate: {box: [0, 0, 1, 2]}}", "regions.gate.box[3]: must be 0 to 1, not 2"),
        ("{gate: {box: all}}", "regions.gate.box: must be a list, not the text 'all'"),
        ("{gate: {bax: [0, 0, 1, 1]}}", "regions.gate.bax: is not a setting (did you mean 'box'?)"),
        (
            "{gate: {polygon: [0, 0, 1, 1]}}",
            "regions.gate.polygon: must be the x and y of 3 to 32 corners, not 4 numbers",
        ),
        (
            "{gate: {polygon: [0, 0, 1, 1, 0.5, 0, 0.2]}}",
            "regions.gate.polygon: must be the x and y of 3 to 32 corners, not 7 numbers",
        ),
        (
            "{gate: {polygon: [0.5, 0, 0.5, 1, 0.5, 0.3]}}",
            "regions.gate.polygon: must have a width and a height above 0",
        ),
        ("{gate: {polygon: [0, 0, 1, 1, 0, 2]}}", "regions.gate.polygon[5]: must be 0 to 1, not 2"),
        (
            "{gate: {box: [0, 0, 0.5, 1], polygon: [0, 0, 1, 1, 0, 1]}}",
            "regions.gate.polygon: is set, and so is box",
        ),
        ("{gate: {priority: 0}}", "regions.gate.priority: must be 1 to 100, not 0"),
        ("{gate: 3}", "regions.gate: must be a section of settings, not the number 3"),
        ("{Gate: {}}", "regions.Gate: a name must be 1 to 32 small letters, digits, _ and -"),
        ("{frame: {}}", "regions.frame: is the name of the whole picture (give it another name)"),
        ("{gate: {}, gate: {}}", "regions.gate: is given twice, first on line 2"),
        ("[gate]", "regions: must be named sections, or {} for none, not a list"),
        (
            "{" + ", ".join(f"r{n}: {{}}" for n in range(17)) + "}",
            "regions: are 17; 16 at most can be watched",
        ),
    ],
)
def test_what_is_no_region_is_refused_with_its_line_and_in_public_without_its_name(
    regions: str, problem: str
) -> None:
    with pytest.raises(InvalidConfigError) as refused:
        read(regions)
    assert f"edge-agent.yaml:2: {problem}" in refused.value.details
    assert "gate" not in str(refused.value).lower()
    assert "edge-agent.yaml:2: regions: " in str(refused.value)
