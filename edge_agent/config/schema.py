"""Every setting of the agent: type, default, limits and documentation, in the order of the shipped file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from edge_agent.config.setting import Apply, section, setting
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.secret import Secret, SecretUrl

REGION_NAME = "[a-z0-9_-]{1,32}"
_NAME_HELP = "1 to 32 small letters, digits, _ and -"
_HOURS = "([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)"
_HOURS_HELP = "hours as 07:00-22:30"


@dataclass(frozen=True, slots=True)
class Picamera2Config:
    """A Raspberry Pi camera."""

    APPLY: ClassVar = Apply.SOURCE
    camera: int = setting(0, "Which camera, as `rpicam-hello --list-cameras` numbers them.", at_least=0)
    width: int = setting(640, "Width of the `main` stream, in pixels.", at_least=64, at_most=4608)
    height: int = setting(480, "Height of the `main` stream, in pixels.", at_least=64, at_most=3496)
    lores_width: int = setting(
        320,
        "Width of the `lores` stream that is classified: the camera's own hardware scales it down.",
        at_least=64,
        at_most=1920,
    )
    lores_height: int = setting(240, "Height of the `lores` stream, in pixels.", at_least=64, at_most=1080)
    hflip: bool = setting(False, "Mirror the picture.")
    vflip: bool = setting(False, "Turn the picture upside down.")


@dataclass(frozen=True, slots=True)
class V4l2Config:
    """A USB camera, through OpenCV."""

    APPLY: ClassVar = Apply.SOURCE
    device: str = setting(
        "/dev/video0",
        "The device file, or its number.",
        pattern="/.+|[0-9]{1,3}",
        pattern_help="a path, beginning with /, or a number",
    )
    width: int = setting(640, "Requested width; the camera may choose another.", at_least=64, at_most=7680)
    height: int = setting(480, "Requested height.", at_least=64, at_most=4320)
    fourcc: str = setting(
        "",
        "Pixel format to ask for, for instance MJPG or YUYV; empty for the camera's own.",
        pattern="|[A-Za-z0-9 ]{4}",
        pattern_help="four characters, or empty",
    )


@dataclass(frozen=True, slots=True)
class RtspConfig:
    """A network camera, through OpenCV."""

    APPLY: ClassVar = Apply.SOURCE
    url: SecretUrl = setting(
        SecretUrl(""), "rtsp://user:password@host:554/path; masked wherever the configuration is shown."
    )
    transport: Literal["tcp", "udp"] = setting("tcp", "How the stream is carried.")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """A camera that sends JPEG over HTTP."""

    APPLY: ClassVar = Apply.SOURCE
    url: SecretUrl = setting(
        SecretUrl(""),
        "http://user:password@host/path, or https, of a stream (MJPEG) or of a single picture (snapshot);"
        " masked wherever the configuration is shown.",
    )
    ca_file: Path | None = setting(
        None, "The authority that signed the camera's certificate; empty for the system's own list."
    )


@dataclass(frozen=True, slots=True)
class FileConfig:
    """A video file, through OpenCV."""

    APPLY: ClassVar = Apply.SOURCE
    path: Path | None = setting(None, "The video file.")
    loop: bool = setting(False, "Start again at its end; otherwise the agent ends there.")


@dataclass(frozen=True, slots=True)
class FolderConfig:
    """A folder of JPEG, PNG, WebP or BMP pictures, played in the order of their names."""

    APPLY: ClassVar = Apply.SOURCE
    path: Path | None = setting(None, "The folder.")
    loop: bool = setting(False, "Start again after the last picture; otherwise the agent ends there.")
    recursive: bool = setting(False, "Play the pictures of the folders in it, too.")


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """Where frames come from."""

    APPLY: ClassVar = Apply.SOURCE
    type: Literal["picamera2", "v4l2", "rtsp", "http", "file", "folder"] = setting(
        "picamera2", "Which kind of source; its own settings are in the section of that name."
    )
    fps: float = setting(
        2.0,
        "Frames a second to take. 0: as many as can be classified; a folder or file then drops none.",
        at_least=0,
        at_most=120,
    )
    timeout_s: float = setting(
        5.0, "A capture that takes longer has failed: the source is reopened.", at_least=0.5, at_most=60
    )
    reopen_min_s: float = setting(
        1.0,
        "The first pause before reopening; it doubles up to reopen_max_s.",
        apply=Apply.LIVE,
        at_least=0.1,
        at_most=60,
    )
    reopen_max_s: float = setting(
        60.0, "The longest pause between attempts.", apply=Apply.LIVE, at_least=1, at_most=3600
    )
    rotate: Literal["0", "90", "180", "270"] = setting(
        "0", "Turn the picture clockwise, by so many degrees.", apply=Apply.LIVE
    )
    hflip: bool = setting(False, "Mirror the picture, after turning it.", apply=Apply.LIVE)
    vflip: bool = setting(False, "Turn the picture upside down, after turning it.", apply=Apply.LIVE)
    warmup_s: float = setting(
        0.0,
        "After each opening of a camera, no frame is taken for so long: some begin black or green.",
        apply=Apply.LIVE,
        at_least=0,
        at_most=60,
    )
    frozen_after_s: float = setting(
        60.0,
        "A camera whose picture stays the same to the last byte for so long has failed: it is reopened. A"
        " picture of a single colour is not classified, and fails after 10 s. 0: any picture is fine.",
        apply=Apply.LIVE,
        at_least=0,
        at_most=86400,
    )
    picamera2: Picamera2Config = section(Picamera2Config, "A Raspberry Pi camera.")
    v4l2: V4l2Config = section(V4l2Config, "A USB camera.")
    rtsp: RtspConfig = section(RtspConfig, "A network camera.")
    http: HttpConfig = section(HttpConfig, "A camera that sends JPEG over HTTP.")
    file: FileConfig = section(FileConfig, "A video file.")
    folder: FolderConfig = section(FolderConfig, "A folder of pictures.")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What classifies the frames."""

    APPLY: ClassVar = Apply.RESTART
    path: Path = setting(Path("/var/lib/edge-agent/model"), "A directory made by `edge-agent model build`.")
    engine: Literal["auto", "native", "xnnpack", "torchscript"] = setting(
        "auto",
        "What runs the model: native (the agent's own kernels), xnnpack (a library of Debian's) or"
        " torchscript (the reference). auto: what `edge-agent calibrate` measured to be best on this board,"
        " else the first of these that is there.",
    )
    precision: Literal["auto", "fp16", "fp32"] = setting(
        "auto",
        "How weights are stored; arithmetic is the fastest that this CPU has and that agrees with FP32.",
    )
    threads: int = setting(
        0,
        "Threads for inference. 0: what `edge-agent calibrate` measured, else one per core, at most 4.",
        at_least=0,
        at_most=64,
    )
    affinity: tuple[int, ...] = setting(
        (),
        "Cores that inference may run on, for instance [2, 3]. Empty: what `edge-agent calibrate` measured"
        " to be best, else all.",
        at_least=0,
        at_most=1023,
    )


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """The resident-memory budget."""

    APPLY: ClassVar = Apply.LIVE
    budget_mb: int = setting(
        128,
        "The agent's resident memory (VmRSS, children included) never stays above this many MB.",
        at_least=32,
        at_most=65536,
    )
    soft_percent: int = setting(
        90, "Above this share of the budget, memory is given back to the system.", at_least=50, at_most=100
    )
    check_interval_s: float = setting(5.0, "How often it is measured.", at_least=0.2, at_most=600)


@dataclass(frozen=True, slots=True)
class ThermalConfig:
    """Fewer frames while the board is hot."""

    APPLY: ClassVar = Apply.LIVE
    enabled: bool = setting(
        True,
        "Take fewer frames while the board is hot, before its firmware lowers the clock (from 80 C on a"
        " Raspberry Pi), and while the firmware says that it has.",
    )
    slow_above_c: float = setting(
        75.0,
        "From this temperature on, the rate falls by 30 % every 10 seconds, to a tenth at the lowest.",
        at_least=30,
        at_most=110,
    )
    calm_below_c: float = setting(
        70.0, "Below this temperature it rises again, step by step.", at_least=20, at_most=110
    )


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """Inference is skipped while nothing moves."""

    APPLY: ClassVar = Apply.LIVE
    enabled: bool = setting(
        False,
        "Skip inference while the scene is still: the last answer stands, and `health` counts the frames.",
    )
    threshold: float = setting(
        6.0,
        "The picture is seen as 32 x 24 cells; one has changed when its brightness (0 to 255) differs by more"
        " than this from what it was lately. Raise it where a noisy picture passes for motion.",
        at_least=0.5,
        at_most=255,
    )
    area_percent: float = setting(
        1.0, "It is motion when more than this share of the cells has changed.", at_least=0, at_most=100
    )
    max_skip_s: float = setting(
        10.0,
        "A still scene is classified at least this often, and as often as publish.heartbeat_s.",
        at_least=0.1,
        at_most=3600,
    )


@dataclass(frozen=True, slots=True)
class RegionConfig:
    """A part of the picture that is watched on its own."""

    APPLY: ClassVar = Apply.LIVE
    box: tuple[float, ...] = setting(
        (0.0, 0.0, 1.0, 1.0),
        "[left, top, width, height] as shares of the picture, after turning: [0, 0, 1, 1] is all of it.",
        at_least=0,
        at_most=1,
    )
    priority: int = setting(
        1,
        "Where not all regions can be classified with each frame, one of priority 4 has its turn four times"
        " as often as one of priority 1.",
        at_least=1,
        at_most=100,
    )
    polygon: tuple[float, ...] = setting(
        (),
        "In place of a box, the corners of a polygon: [x1, y1, x2, y2, x3, y3, ...] as shares of the picture,"
        " after turning. What lies outside is hidden.",
        at_least=0,
        at_most=1,
    )


@dataclass(frozen=True, slots=True)
class LabelsConfig:
    """Which labels are published, and what they are called."""

    APPLY: ClassVar = Apply.LIVE
    map: dict[str, str] = setting(
        {},
        "Renames labels, for instance {tabby: cat, Egyptian cat: cat};"
        " the scores of merged labels are added.",
    )
    allow: tuple[str, ...] = setting(
        (), "Only these labels (after renaming) are published; empty for all. Anything else is unknown."
    )
    deny: tuple[str, ...] = setting(
        (), "These labels (after renaming) are never published: the next best takes their place."
    )
    thresholds: dict[str, float] = setting(
        {},
        "What a label (after renaming, or taught) must score to be voted for, in place of"
        " stabilizer.threshold, for instance {cat: 0.8}.",
        at_least=0,
        at_most=1,
    )


@dataclass(frozen=True, slots=True)
class TeachConfig:
    """Labels of the owner's own, taught by example."""

    APPLY: ClassVar = Apply.LIVE
    enabled: bool = setting(
        True,
        "Answer by what was taught, where something was, in place of the network's own labels. Lessons over"
        " MQTT need control.enabled as well.",
    )
    thumbnails: bool = setting(
        True,
        "Keep a small picture (224 pixels) with each example taught while the agent runs, so that another"
        " model can be taught the same.",
    )
    per_label: int = setting(
        50,
        "Examples of a label; beyond it a new one takes the place of the most similar.",
        at_least=1,
        at_most=500,
    )
    in_all: int = setting(
        500, "Examples of a view in all; each takes 1 to 3 kB of memory.", at_least=2, at_most=1000
    )
    probability: float = setting(
        0.5, "Below this probability a taught label is unknown.", at_least=0, at_most=1
    )
    ask_every_s: float = setting(
        300.0,
        "At most one frame in so many seconds, of those that are unknown, unsure or flip-flopping, is kept"
        " for its owner to name. 0: none.",
        at_least=0,
        at_most=86400,
    )


@dataclass(frozen=True, slots=True)
class StabilizerConfig:
    """Keeps the published label from flapping."""

    APPLY: ClassVar = Apply.LIVE
    window: int = setting(3, "How many recent frames vote.", at_least=1, at_most=1000)
    votes: int = setting(2, "How many of them must agree before the label changes.", at_least=1, at_most=1000)
    threshold: float = setting(
        0.3,
        "A label must score at least this to be voted for; below it the frame is unknown.",
        at_least=0,
        at_most=1,
    )
    hysteresis: float = setting(
        0.05,
        "The present label is kept down to threshold minus this, so that a score on the edge does not flap.",
        at_least=0,
        at_most=1,
    )
    min_hold_s: float = setting(0.0, "A label is kept at least this long.", at_least=0, at_most=3600)


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """When labels are published, and when they are not."""

    APPLY: ClassVar = Apply.LIVE
    hours: tuple[str, ...] = setting(
        (),
        'The hours of the day, by the device\'s own clock, for instance ["07:00-12:00", "13:30-22:00"]; one'
        " that ends before it begins goes over midnight. Empty: all day.",
        pattern=_HOURS,
        pattern_help=_HOURS_HELP,
    )
    light: Literal["any", "day", "night"] = setting(
        "any", "Whether the picture must be bright (day) or dark (night): see night_below."
    )
    night_below: float = setting(
        40.0,
        "It is night while a picture's mean brightness, 0 to 255, is below this; day comes again at a tenth"
        " more.",
        at_least=1,
        at_most=254,
    )


@dataclass(frozen=True, slots=True)
class PeriodConfig:
    """A time with a taught head of its own."""

    APPLY: ClassVar = Apply.LIVE
    hours: tuple[str, ...] = setting(
        (), "The hours of the day, as in schedule.hours.", pattern=_HOURS, pattern_help=_HOURS_HELP
    )
    light: Literal["any", "day", "night"] = setting(
        "any", "Whether what is watched must be bright (day) or dark (night): see schedule.night_below."
    )


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """What is published, and how often."""

    APPLY: ClassVar = Apply.LIVE
    state: Literal["auto", "every_frame", "on_change"] = setting(
        "auto",
        "Publish `state` for each classified frame, or only when the label changes. auto: on_change where"
        " homeassistant.enabled is true, since its recorder keeps every state; else every_frame.",
    )
    heartbeat_s: float = setting(
        60.0,
        "With on_change, and in a still scene (motion.enabled), publish `state` at least this often.",
        at_least=1,
        at_most=86400,
    )
    health_interval_s: float = setting(60.0, "How often `health` is published.", at_least=1, at_most=86400)
    prediction: bool = setting(False, "Publish every raw result on `prediction` as well.")
    image: bool = setting(False, "Publish the classified picture as JPEG on `image`.", apply=Apply.BROKER)
    event_image: bool = setting(
        False,
        "Publish the picture of each label change as JPEG on `event_image`, retained, and on"
        " `event_image/info` the `seq` of its event.",
        apply=Apply.BROKER,
    )
    image_interval_s: float = setting(
        10.0, "The shortest time between two pictures.", at_least=0.1, at_most=86400
    )
    image_quality: int = setting(80, "JPEG quality.", at_least=1, at_most=95)


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Encryption of the broker connection."""

    APPLY: ClassVar = Apply.BROKER
    enabled: bool = setting(
        False, "Use TLS; the broker's certificate is always checked.", apply=Apply.RESTART
    )
    ca_file: Path | None = setting(None, "The authority that signed it; empty for the system's own list.")
    cert_file: Path | None = setting(None, "This client's certificate, where the broker asks for one.")
    key_file: Path | None = setting(
        None, "The key of that certificate; empty where cert_file holds it as well."
    )


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """The broker."""

    APPLY: ClassVar = Apply.BROKER
    host: str = setting(
        "localhost",
        "Name or address of the broker.",
        pattern=r"[^\s/@:]{1,253}|[0-9A-Fa-f.]*(:[0-9A-Fa-f.]*){2,7}(%\w+)?",
        pattern_help="a name or address, without scheme and port",
    )
    port: int = setting(0, "0: 1883, or 8883 with TLS.", at_least=0, at_most=65535)
    hosts: tuple[str, ...] = setting(
        (),
        "Several brokers in place of mqtt.host, for instance [broker1, broker2:8884]; without a port they"
        " have mqtt.port. They must be one cluster, or bridged: the agent begins with any of them, and goes"
        " to the next when it loses one. A name with several addresses is tried at each.",
        pattern=r"[^\s/@]{1,270}",
        pattern_help="a name or address, or one with :port, without scheme",
    )
    username: str = setting("", "Empty for none.")
    password: Secret = setting(Secret(""), "Better kept in password_file.")
    password_file: Path | None = setting(
        None,
        "A file that holds the password; a bare name is looked up among the service's systemd credentials.",
        keeps_bare_name=True,
    )
    client_id: str = setting(
        "", "Empty: edge-agent-<device_id>.", pattern=".{0,128}", pattern_help="at most 128 characters"
    )
    base_topic: str = setting(
        "edge_agent",
        "Topics begin with <base_topic>/<device_id>/.",
        pattern="[^+#/$][^+#$]{0,127}(?<!/)",
        pattern_help="a topic without +, # or $, and no / at its ends",
    )
    protocol: Literal["auto", "5", "3.1.1"] = setting(
        "auto", "MQTT version. auto: 5, and 3.1.1 where the broker refuses that."
    )
    transport: Literal["tcp", "websockets"] = setting("tcp", "How MQTT is carried.")
    websocket_path: str = setting(
        "/mqtt", "The path of the websocket.", pattern="/[!-~]*", pattern_help="a path, beginning with /"
    )
    keepalive_s: int = setting(
        30, "After 1.5 times this silence the broker publishes `offline`.", at_least=5, at_most=3600
    )
    reconnect_min_s: float = setting(
        1.0, "The first pause before reconnecting; it doubles, with jitter.", at_least=0.1, at_most=60
    )
    reconnect_max_s: float = setting(
        120.0,
        "The longest pause between attempts; with several brokers no more than 4 times reconnect_min_s.",
        at_least=1,
        at_most=3600,
    )
    tls: TlsConfig = section(TlsConfig, "Encryption.")


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """Events wait here while the broker is down."""

    APPLY: ClassVar = Apply.RESTART
    path: Path | None = setting(
        None, "The SQLite file; empty: outbox.sqlite3 in the service's state directory."
    )
    max_rows: int = setting(
        10000,
        "Beyond this many waiting events the oldest is dropped and counted.",
        at_least=1,
        at_most=10000000,
    )
    max_mb: int = setting(16, "Beyond this size the oldest is dropped and counted.", at_least=1, at_most=4096)


@dataclass(frozen=True, slots=True)
class HomeAssistantConfig:
    """Home Assistant."""

    APPLY: ClassVar = Apply.BROKER
    enabled: bool = setting(False, "Publish a discovery message, so that the device appears by itself.")
    discovery_prefix: str = setting(
        "homeassistant",
        "Home Assistant's own discovery prefix.",
        pattern="[^+#/$][^+#$]{0,127}(?<!/)",
        pattern_help="a topic without +, # or $, and no / at its ends",
    )
    name: str = setting("", "What the device is called there; empty: its device_id.")


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Requests over MQTT: teach, pause, resume, snapshot, reload, restart, read and change settings."""

    enabled: bool = setting(
        False,
        "Answer requests. Who may send them is for the broker's access list to say.",
        apply=Apply.BROKER,
    )
    allow_patch: bool = setting(
        False,
        "Let `config/patch` write settings that are applied at once into this file; those of `control`,"
        " `fleet` and `web` excepted.",
        apply=Apply.LIVE,
    )
    allow_head: bool = setting(
        False, "Let `teach/head` set heads that were taught elsewhere.", apply=Apply.LIVE
    )
    allow_model: bool = setting(
        False,
        "Let `model/install`, and what is wanted of this device's groups, exchange the model for one that is"
        " downloaded over HTTPS.",
        apply=Apply.LIVE,
    )
    model_ca_file: Path | None = setting(
        None,
        "The authority that signed that server's certificate; empty for the system's own list.",
        apply=Apply.LIVE,
    )
    model_watch_s: float = setting(
        180.0,
        "So long such a model is tried: an agent that is worse with it goes back to the one from before.",
        apply=Apply.LIVE,
        at_least=1,
        at_most=86400,
    )
    max_per_minute: int = setting(
        30, "More requests than this are refused.", apply=Apply.LIVE, at_least=1, at_most=6000
    )


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The owner's page."""

    APPLY: ClassVar = Apply.RESTART
    enabled: bool = setting(
        False, "Serve a page that shows the newest frame and its labels, and an API, over HTTP."
    )
    listen: str = setting(
        "127.0.0.1:8384",
        "Address and port to listen on. On any but a loopback address, a token is asked for.",
        pattern=r"([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}",
        pattern_help="an address and a port, as 127.0.0.1:8384 or [::1]:8384",
    )
    hosts: tuple[str, ...] = setting(
        (),
        "Names by which browsers reach the page, besides localhost, addresses and this host's own name: that"
        " of a reverse proxy.",
    )
    token: Literal["auto", "always"] = setting(
        "auto",
        "When a token is asked for. auto: of requests that did not come over loopback, or by a name of"
        " web.hosts. always: of all; have this behind a reverse proxy.",
    )
    events_mb: int = setting(
        0,
        "Keep the latest events with small pictures on disk as well, in so many MB (each has about 5 kB), so"
        " that the page shows them after a restart. 0: in memory alone.",
        at_least=0,
        at_most=1000,
    )
    allow_teach: bool = setting(False, "Let whoever may see the page teach labels with it.", apply=Apply.LIVE)
    allow_edit: bool = setting(
        False,
        "Let whoever may see the page change this file with it, but for this section.",
        apply=Apply.LIVE,
    )


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """Many devices, changed together."""

    APPLY: ClassVar = Apply.BROKER
    groups: tuple[str, ...] = setting(
        (),
        "The groups that this device belongs to: their wanted state, on <base_topic>/group/<name>/wanted, is"
        " followed. Where two groups give the same setting, the later one counts.",
        pattern="[a-zA-Z0-9_-]{1,64}",
        pattern_help="1 to 64 letters, digits, _ and -",
    )
    public_key: str = setting(
        "",
        "What `edge-agent fleet key` prints: wanted state is taken only with this key's signature.",
        pattern="|[A-Za-z0-9+/]{43}=",
        pattern_help="44 characters of base64, as `edge-agent fleet key` prints them",
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The log."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "The least important level that is logged.", apply=Apply.LIVE
    )
    format: Literal["auto", "plain", "journal", "json"] = setting(
        "auto", "auto: journal under systemd, plain on a terminal.", apply=Apply.RESTART
    )


def watched(regions: Mapping[str, RegionConfig]) -> tuple[str, ...]:
    """The names of what is watched: of the regions, or one empty name for the whole picture."""
    return tuple(regions) or ("",)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration file."""

    device_id: str = setting(
        "",
        "Names this device in topics; empty: the host's name.",
        apply=Apply.RESTART,
        pattern="[a-zA-Z0-9_-]{0,64}",
        pattern_help="at most 64 letters, digits, _ and -",
    )
    source: SourceConfig = section(SourceConfig, "Where frames come from.")
    model: ModelConfig = section(ModelConfig, "What classifies them.")
    memory: MemoryConfig = section(MemoryConfig, "The resident-memory budget.")
    thermal: ThermalConfig = section(ThermalConfig, "Fewer frames while the board is hot.")
    motion: MotionConfig = section(MotionConfig, "Inference is skipped while nothing moves.")
    regions: dict[str, RegionConfig] = setting(
        {},
        "Parts of the picture, each watched on its own in place of the whole, for instance"
        " {gate: {box: [0.1, 0.4, 0.3, 0.5]}}; each has topics of its own, below region/<name>/.",
        apply=Apply.LIVE,
        pattern=REGION_NAME,
        pattern_help=_NAME_HELP,
    )
    labels: LabelsConfig = section(LabelsConfig, "Which labels are published, and what they are called.")
    teach: TeachConfig = section(TeachConfig, "Labels of your own, taught by example.")
    periods: dict[str, PeriodConfig] = setting(
        {},
        "Times with a taught head of their own, of the examples that were taken then, for instance"
        " {night: {light: night}}; of several, the first that it is.",
        apply=Apply.LIVE,
        pattern=REGION_NAME,
        pattern_help=_NAME_HELP,
    )
    stabilizer: StabilizerConfig = section(StabilizerConfig, "Keeps the published label from flapping.")
    schedule: ScheduleConfig = section(ScheduleConfig, "When labels are published.")
    publish: PublishConfig = section(PublishConfig, "What is published, and how often.")
    mqtt: MqttConfig = section(MqttConfig, "The broker.")
    outbox: OutboxConfig = section(OutboxConfig, "Events wait here while the broker is down.")
    homeassistant: HomeAssistantConfig = section(HomeAssistantConfig, "Home Assistant.")
    control: ControlConfig = section(ControlConfig, "Requests over MQTT.")
    web: WebConfig = section(WebConfig, "The owner's page.")
    fleet: FleetConfig = section(FleetConfig, "Many devices, changed together.")
    log: LogConfig = section(LogConfig, "The log.")

    @property
    def watched(self) -> tuple[str, ...]:
        """The names of what is watched: of the regions, or one empty name for the whole picture."""
        return watched(self.regions)
