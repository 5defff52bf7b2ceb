"""The scenes: each has a place, two to five states, and strangers."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmarks.teaching import things
from benchmarks.teaching.day import Light
from benchmarks.teaching.pen import HEIGHT, WIDTH, Chance, Colour, Pen, bricks, grain, planks, tinted, varied
from benchmarks.teaching.scene import Scene, State
from benchmarks.teaching.things import Thing

_ROAD: Colour = (112, 112, 116)
_GRASS: Colour = (84, 118, 62)
_WOOD: Colour = (134, 98, 64)
_IRON: Colour = (44, 52, 48)


def at(thing: Thing, x: float, y: float, size: float, *, loose: float = 0.05) -> State:
    """A thing at about that place; `loose` is how far it may stand from it, in its size."""

    def draw(pen: Pen, _: Light, chance: Chance) -> None:
        dx, dy = chance.normal(0, loose * size), chance.normal(0, 0.3 * loose * size)
        thing(pen, x + dx, y + dy, size * float(chance.uniform(0.93, 1.07)), chance)

    return draw


def nothing(_pen: Pen, _light: Light, _chance: Chance) -> None:
    """The place is empty."""


def under(first: State, then: State) -> State:
    """Both, the second in front."""

    def draw(pen: Pen, light: Light, chance: Chance) -> None:
        first(pen, light, chance)
        then(pen, light, chance)

    return draw


# A gate between two walls; when it is open, the drive and a house are seen behind it.


def _gate_place(pen: Pen, chance: Chance) -> None:
    pen.box((0, 0, WIDTH, 230), (178, 200, 222))
    pen.texture((0, 150, WIDTH, 360), grain(chance, 0.12), (72, 104, 58))
    pen.texture((0, 350, WIDTH, HEIGHT), grain(chance, 0.05), _ROAD)
    pen.polygon([(330, 350), (490, 350), (440, 250), (380, 250)], (150, 140, 126))
    pen.box((360, 190, 470, 262), (206, 190, 170))
    pen.polygon([(350, 192), (415, 150), (480, 192)], (140, 70, 56))
    wall = bricks(chance)
    pen.texture((0, 200, 318, 362), wall, (164, 96, 76))
    pen.texture((502, 200, WIDTH, 362), wall, (164, 96, 76))
    for left in (296, 502):
        pen.texture((left, 180, left + 24, 372), wall, (190, 182, 170))


def _bars(pen: Pen, left: float, right: float, top: float, bottom: float, bars: int) -> None:
    for number in range(bars):
        x = left + (right - left) * number / (bars - 1)
        pen.line([(x, top), (x, bottom)], _IRON, 5)
    for y in (top + 8, (top + bottom) / 2, bottom - 8):
        pen.line([(left, y), (right, y)], _IRON, 6)


def _gate_closed(pen: Pen, _: Light, chance: Chance) -> None:
    gap = float(chance.normal(0, 1.0))
    _bars(pen, 322, 409 + gap, 205, 362, 9)
    _bars(pen, 412 + gap, 500, 205, 362, 9)


def _gate_open(pen: Pen, _: Light, chance: Chance) -> None:
    """The wings stand inward, by no fixed angle."""
    for hinge, inward in ((322, 1), (500, -1)):
        reach = 87 * math.cos(math.radians(float(chance.uniform(62, 86))))
        for number in range(5):
            x = hinge + inward * reach * number / 4
            pen.line([(x, 205 + 3 * number), (x, 362 - 7 * number)], _IRON, 4)
        for y in (213, 283, 352):
            pen.line([(hinge, y), (hinge + inward * reach, y + (283 - y) * 0.15)], _IRON, 5)


GATE = Scene(
    "gate",
    (292, 170, 526, 382),
    {"closed": _gate_closed, "open": _gate_open},
    {
        "van in the gateway": under(_gate_open, at(things.van, 410, 372, 82)),
        "sand heap": under(_gate_open, at(things.sand, 410, 372, 110)),
        "tent": under(_gate_open, at(things.tent, 410, 372, 110)),
        "ladder on it": under(
            _gate_closed, under(at(things.ladder, 410, 374, 130), at(things.tarp, 410, 374, 90))
        ),
    },
    _gate_place,
)


# A wheelie bin that stands at the kerb on some days.


def _kerb(pen: Pen, chance: Chance) -> None:
    pen.texture((0, 0, WIDTH, 330), bricks(chance), (170, 120, 96))
    for left in (60, 620):
        pen.box((left, 70, left + 120, 230), (232, 232, 228))
        pen.box((left + 8, 78, left + 112, 222), (70, 84, 96))
    pen.texture((0, 320, WIDTH, 480), grain(chance, 0.06), (158, 154, 148))
    pen.texture((0, 480, WIDTH, HEIGHT), grain(chance, 0.05), _ROAD)
    pen.box((0, 474, WIDTH, 486), (190, 188, 182))


def _bin(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, body = size, varied((46, 92, 60), chance, 5)
    pen.polygon(
        [(x - 0.3 * s, y - 0.85 * s), (x + 0.3 * s, y - 0.85 * s), (x + 0.23 * s, y), (x - 0.23 * s, y)], body
    )
    pen.polygon(
        [
            (x - 0.34 * s, y - 0.84 * s),
            (x + 0.34 * s, y - 0.84 * s),
            (x + 0.28 * s, y - s),
            (x - 0.3 * s, y - 0.96 * s),
        ],
        tinted(body, 1.25),
    )
    for rib in (-0.12, 0.12):
        pen.line([(x + rib * s, y - 0.75 * s), (x + rib * s * 0.8, y - 0.1 * s)], tinted(body, 0.75), 4)
    pen.disc(x + 0.2 * s, y - 0.05 * s, 0.08 * s, (30, 30, 32))


BIN = Scene(
    "bin",
    (300, 250, 500, 450),
    {"in": nothing, "out": at(_bin, 400, 430, 150, loose=0.1)},
    {
        "person": at(things.person, 400, 440, 180),
        "suitcase": at(things.suitcase, 400, 430, 130),
        "rubbish bags": at(things.bags, 400, 430, 110),
        "bicycle": at(things.bicycle, 400, 430, 110),
        "plant": at(things.plant, 400, 432, 140),
    },
    _kerb,
    clutter=(things.person, things.bicycle, things.dog, things.box),
)


# A lamp above a door: lit or not, by day and by night.


def _porch(pen: Pen, chance: Chance) -> None:
    pen.texture((0, 0, WIDTH, HEIGHT), planks(chance, 36, upright=False), (196, 190, 176))
    pen.texture((140, 120, 340, 560), planks(chance, 40), (88, 60, 48))
    pen.disc(318, 350, 8, (200, 180, 90))
    pen.box((590, 160, 760, 360), (236, 236, 232))
    pen.box((600, 170, 750, 350), (64, 76, 88))
    pen.texture((0, 555, WIDTH, HEIGHT), grain(chance, 0.06), (140, 136, 130))


def _lantern(pen: Pen, glass: Colour) -> None:
    pen.line([(450, 180), (450, 210), (480, 210)], (40, 40, 42), 6)
    pen.polygon([(420, 232), (480, 232), (466, 206), (434, 206)], (40, 40, 42))
    pen.polygon([(424, 232), (476, 232), (468, 300), (432, 300)], glass)
    for x in (426, 450, 474):
        pen.line([(x, 232), (450 + (x - 450) * 0.75, 300)], (40, 40, 42), 3)
    pen.box((430, 298, 470, 306), (40, 40, 42))


def _lamp_off(pen: Pen, _light: Light, chance: Chance) -> None:
    _lantern(pen, varied((150, 156, 158), chance, 8))


def _lamp_on(pen: Pen, light: Light, chance: Chance) -> None:
    glow = 70 * (1.0 if light.is_night else 0.35)
    for step in range(12, 0, -1):
        shade = 1 + 0.05 * (12 - step) * (1.0 if light.is_night else 0.4)
        pen.disc(450, 265, glow * step / 12, tinted((200, 186, 150), min(shade, 1.3)))
    _lantern(pen, varied((255, 240, 180), chance, 6))
    pen.disc(450, 264, 12, (255, 255, 240))


LAMP = Scene(
    "lamp",
    (370, 170, 530, 330),
    {"off": _lamp_off, "on": _lamp_on},
    {
        "wreath": under(_lamp_off, at(things.wreath, 450, 310, 120)),
        "ladder": under(_lamp_off, under(at(things.ladder, 440, 560, 300), at(things.person, 445, 400, 190))),
        "hanging basket": at(things.plant, 450, 312, 130),
        "sheet over it": at(things.tarp, 450, 318, 120),
    },
    _porch,
)


# A parking bay before a house.


def _bay_place(pen: Pen, chance: Chance) -> None:
    pen.texture((0, 0, WIDTH, 260), bricks(chance, 40, 16), (186, 172, 152))
    pen.box((80, 60, 220, 200), (70, 84, 96))
    pen.box((560, 40, 680, 260), (120, 70, 50))
    pen.texture((0, 250, WIDTH, 330), grain(chance, 0.12), _GRASS)
    pen.texture((0, 325, WIDTH, HEIGHT), grain(chance, 0.06), _ROAD)
    for x in (270, 540):
        pen.line([(x, 330), (x + (x - 405) * 0.25, 470)], (224, 224, 218), 6)


BAY = Scene(
    "bay",
    (265, 250, 545, 470),
    {
        "car": at(things.car, 405, 430, 84, loose=0.12),
        "empty": nothing,
        "van": at(things.van, 405, 440, 84, loose=0.1),
    },
    {
        "skip": at(things.skip, 405, 440, 84),
        "tent": at(things.tent, 405, 440, 110),
        "motorbike": at(things.motorbike, 405, 435, 110),
        "sand heap": at(things.sand, 405, 440, 95),
        "persons": under(at(things.person, 360, 440, 170), at(things.person, 450, 445, 175)),
    },
    _bay_place,
    clutter=(things.person, things.bicycle, things.box, things.bags),
)


# A kitchen counter, on which no animal should be.


def _kitchen(pen: Pen, chance: Chance) -> None:
    pen.texture((0, 0, WIDTH, 380), bricks(chance, 48, 48), (214, 216, 208))
    pen.box((60, 0, 300, 150), (170, 150, 126))
    pen.box((520, 0, 760, 150), (170, 150, 126))
    pen.texture((0, 380, WIDTH, 440), grain(chance, 0.1, scales=(2, 4)), (92, 92, 98))
    pen.texture((0, 440, WIDTH, HEIGHT), planks(chance, 130), (206, 196, 178))
    pen.box((600, 330, 720, 382), (188, 190, 194), round_by=10)
    pen.line([(640, 332), (640, 270), (690, 270), (690, 300)], (150, 152, 156), 10)


COUNTER = Scene(
    "counter",
    (300, 230, 500, 430),
    {
        "cat": at(things.cat, 400, 402, 110, loose=0.2),
        "dog": at(things.dog, 390, 404, 100, loose=0.15),
        "empty": nothing,
    },
    {
        "parrot": at(things.parrot, 400, 400, 130),
        "box": at(things.box, 400, 402, 120),
        "plant": at(things.plant, 400, 402, 140),
        "suitcase": at(things.suitcase, 400, 402, 140),
        "bottles": under(
            at(things.bottle, 360, 400, 130),
            under(at(things.bottle, 400, 404, 120), at(things.bottle, 440, 400, 140)),
        ),
    },
    _kitchen,
    clutter=(things.bottle, things.plant, things.box, things.ball),
    is_indoors=True,
)


# A letter box whose flag is raised when there is post.


def _verge(pen: Pen, chance: Chance) -> None:
    pen.box((0, 0, WIDTH, 260), (186, 204, 222))
    for x in range(40, WIDTH, 90):
        pen.disc(
            x + float(chance.normal(0, 16)),
            240 + float(chance.normal(0, 14)),
            60,
            varied((66, 98, 54), chance),
        )
    pen.texture((0, 260, WIDTH, 520), grain(chance, 0.12), _GRASS)
    pen.texture((0, 520, WIDTH, HEIGHT), grain(chance, 0.05), _ROAD)


def _letter_box(pen: Pen, chance: Chance) -> None:
    body = varied((64, 70, 92), chance, 4)
    pen.box((394, 340, 412, 520), _WOOD)
    pen.box((340, 285, 470, 345), body, round_by=4)
    pen.ellipse((340, 250, 470, 330), body)
    pen.box((340, 288, 352, 345), tinted(body, 1.3))
    pen.line([(345, 316), (470, 316)], tinted(body, 0.8), 2)


def _flag_up(pen: Pen, _: Light, chance: Chance) -> None:
    _letter_box(pen, chance)
    pen.line([(446, 322), (446 + float(chance.normal(0, 2)), 226)], (120, 30, 28), 6)
    pen.box((446, 226, 480, 250), (204, 44, 36))


def _flag_down(pen: Pen, _: Light, chance: Chance) -> None:
    _letter_box(pen, chance)
    tip = 322 + float(chance.normal(0, 2))
    pen.line([(446, 322), (372, tip)], (120, 30, 28), 6)
    pen.box((364, tip - 12, 392, tip + 14), (204, 44, 36))


LETTERS = Scene(
    "letter box",
    (320, 210, 500, 390),
    {"flag down": _flag_down, "flag up": _flag_up},
    {
        "wreath on it": under(_flag_up, at(things.wreath, 405, 372, 150)),
        "parcel before it": under(_flag_down, at(things.box, 408, 388, 130)),
        "sheet over it": under(_flag_down, at(things.tarp, 405, 370, 150)),
        "only the post": lambda pen, _light, _chance: pen.box((394, 340, 412, 520), _WOOD),
    },
    _verge,
)


# A hook by the door, for one thing at a time: five states.


def _hall(pen: Pen, chance: Chance) -> None:
    pen.texture((0, 0, WIDTH, 520), grain(chance, 0.015, scales=(2, 60)), (206, 200, 182))
    pen.texture((0, 500, WIDTH, HEIGHT), planks(chance, 60), (150, 112, 74))
    pen.box((80, 90, 240, 520), (230, 228, 222))
    pen.box((90, 100, 230, 520), (214, 210, 200))
    pen.disc(215, 320, 8, (170, 160, 120))
    pen.texture((320, 190, 520, 214), planks(chance, 400), _WOOD)
    pen.line([(420, 206), (420, 226), (432, 226)], (60, 60, 62), 6)
    pen.box((620, 120, 740, 280), (120, 90, 60))
    pen.box((632, 132, 728, 268), (150, 176, 190))


def _coat(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, cloth = size, varied((40, 58, 96), chance, 6)
    sway = float(chance.normal(0, 0.04)) * s
    pen.polygon(
        [(x - 0.12 * s, y), (x + 0.12 * s, y), (x + 0.36 * s + sway, y + s), (x - 0.36 * s + sway, y + s)],
        cloth,
    )
    pen.line([(x - 0.14 * s, y + 0.1 * s), (x - 0.36 * s, y + 0.7 * s)], tinted(cloth, 0.8), 0.16 * s)
    pen.line([(x + 0.14 * s, y + 0.1 * s), (x + 0.36 * s, y + 0.7 * s)], tinted(cloth, 1.15), 0.16 * s)
    pen.line([(x, y), (x + sway, y + s)], tinted(cloth, 0.5), 3)


def _bag(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, leather = size, varied((150, 84, 44), chance, 6)
    pen.line([(x, y), (x - 0.26 * s, y + 0.5 * s)], tinted(leather, 0.7), 6)
    pen.line([(x, y), (x + 0.26 * s, y + 0.5 * s)], tinted(leather, 0.7), 6)
    pen.box((x - 0.34 * s, y + 0.45 * s, x + 0.34 * s, y + 0.92 * s), leather, round_by=0.08 * s)
    pen.box((x - 0.34 * s, y + 0.45 * s, x + 0.34 * s, y + 0.66 * s), tinted(leather, 1.2), round_by=0.08 * s)


def _umbrella(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, cloth = size, varied((150, 36, 50), chance, 6)
    tilt = float(chance.normal(0, 0.05)) * s
    pen.polygon([(x - 0.09 * s, y + 0.2 * s), (x + 0.09 * s, y + 0.2 * s), (x + tilt, y + s)], cloth)
    pen.line([(x, y + 0.24 * s), (x - 0.02 * s + tilt, y + 0.96 * s)], tinted(cloth, 0.6), 3)
    pen.line(
        [(x, y + 0.22 * s), (x, y + 0.02 * s), (x + 0.1 * s, y), (x + 0.12 * s, y + 0.08 * s)],
        (90, 60, 34),
        7,
    )


def _hat(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, straw = size, varied((214, 186, 116), chance, 6)
    y += 0.32 * s
    pen.ellipse((x - 0.42 * s, y - 0.3 * s, x + 0.42 * s, y + 0.3 * s), straw)
    pen.ellipse((x - 0.2 * s, y - 0.19 * s, x + 0.2 * s, y + 0.15 * s), tinted(straw, 0.85))
    pen.ellipse((x - 0.18 * s, y - 0.18 * s, x + 0.18 * s, y + 0.1 * s), tinted(straw, 1.08))


def _broom(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s = size
    pen.line([(x, y), (x + float(chance.normal(0, 0.03)) * s, y + 0.8 * s)], (176, 140, 90), 7)
    pen.polygon(
        [
            (x - 0.16 * s, y + 0.72 * s),
            (x + 0.16 * s, y + 0.72 * s),
            (x + 0.24 * s, y + s),
            (x - 0.24 * s, y + s),
        ],
        varied((190, 160, 60), chance),
    )


def _frame(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s = 0.8 * size
    pen.box((x - 0.42 * s, y, x + 0.42 * s, y + s), (70, 48, 30))
    pen.box((x - 0.35 * s, y + 0.08 * s, x + 0.35 * s, y + 0.92 * s), varied((170, 190, 200), chance, 20))
    pen.polygon(
        [(x - 0.35 * s, y + 0.92 * s), (x - 0.1 * s, y + 0.5 * s), (x + 0.35 * s, y + 0.92 * s)],
        (80, 110, 70),
    )


def _helmet(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, shell = size, varied((200, 60, 40), chance, 20)
    y += 0.1 * s
    pen.ellipse((x - 0.32 * s, y, x + 0.32 * s, y + 0.7 * s), shell)
    pen.box((x - 0.26 * s, y + 0.26 * s, x + 0.3 * s, y + 0.44 * s), (30, 34, 40), round_by=8)


def _towel(pen: Pen, x: float, y: float, size: float, chance: Chance) -> None:
    s, cloth = size, varied((150, 190, 180), chance, 20)
    pen.polygon(
        [(x - 0.04 * s, y), (x + 0.04 * s, y), (x + 0.22 * s, y + 0.9 * s), (x - 0.24 * s, y + 0.86 * s)],
        cloth,
    )
    for share in (0.6, 0.7):
        pen.line(
            [(x - 0.2 * s * share, y + share * s), (x + 0.2 * s * share, y + (share + 0.03) * s)],
            (240, 240, 236),
            5,
        )


def _hung(thing: Callable[[Pen, float, float, float, Chance], None], size: float) -> State:
    return at(thing, 424, 222, size, loose=0.02)


HOOK = Scene(
    "hook",
    (325, 180, 525, 380),
    {
        "bag": _hung(_bag, 140),
        "coat": _hung(_coat, 150),
        "empty": nothing,
        "hat": _hung(_hat, 140),
        "umbrella": _hung(_umbrella, 145),
    },
    {
        "broom": _hung(_broom, 145),
        "picture": _hung(_frame, 150),
        "helmet": _hung(_helmet, 130),
        "towel": _hung(_towel, 140),
    },
    _hall,
    clutter=(things.person, things.suitcase, things.box, things.plant),
    is_indoors=True,
)

SCENES = (GATE, BIN, LAMP, BAY, COUNTER, LETTERS, HOOK)
TUNED_ON = ("gate", "bin", "lamp", "bay")
"""On these the constants of `edge_agent.teach.unknown` and of hysteresis were set, on the others never."""
