"""Every setting: from environment variables FACEBENTO_... and, below them, a file .env in the working directory."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from bentoml.exceptions import BentoMLConfigException
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from api import values
from api.keys import Keys, read_keys

PREFIX = "FACEBENTO_"
CLIENTS_KEY = "API_KEY"  # where the Python client looks for its key, and the likeliest misspelling of API_KEYS
# Reckoned: an API process needs a fifth of a core for two threads of YuNet. Each may take 1.6 GB at the worst.
THREADS_PER_WORKER, MOST_WORKERS = 4, 4


class SettingsError(BentoMLConfigException):
    """A setting that can't be used. The message names its variable and never holds a key.

    Of the kind that BentoML's commands end with in one line instead of a traceback.
    """


class Settings(BaseSettings):
    """Units are in the names; the descriptions say what each setting trades for what."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    api_keys: SecretStr = Field(
        SecretStr(""),
        description="The keys that clients may send as `x-api-key`, separated by commas. Each is the key itself or "
        "`sha256:HEX`, the hash of it, so that the key stands nowhere on the server; `NAME=` in front of either names "
        "whose it is, and ` expires=2027-01-31` behind it ends it at that moment (UTC). At least one key must be set, "
        "here or in the file.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="A file with one key a line, written as in `FACEBENTO_API_KEYS`; blank lines and lines that begin "
        "with `#` are passed over. Its keys count as well as those of the variable. A change of the file counts within "
        "three seconds, without a restart; where it can't be read, the keys before stay in use, and the log says why.",
    )
    device: Annotated[str, AfterValidator(values.device)] = Field(
        "auto",
        description="Where the models run. `auto`: the first CUDA device if there is one, the CPU otherwise. `cuda` or "
        "`cuda:1`: that device, and the service refuses to start without it. `cuda:0,1`: each of these, by a process "
        "of its own. `cpu`: never the GPU.",
    )
    gpu_engine: Literal["cuda", "cuda-fp16", "tensorrt"] = Field(
        "cuda",
        description="How a GPU runs the models. `cuda`: in 32-bit floats, as the CPU does. `cuda-fp16`: in 16 bits, on "
        "tensor cores; at start the answers are held against those in 32 bits, and a model whose embeddings are apart "
        "by a cosine below 0.999, or whose candidates by over 1 % of the canvas, runs in 32. `tensorrt`: in 16 bits "
        "by TensorRT, which has to be installed; it takes minutes at the first start, and keeps its engines in "
        "`BENTOML_HOME/engines`.",
    )
    detector: str = Field(
        "centerface", description="The model that finds faces; `facebento models list` names those at hand."
    )
    embedder: str = Field(
        "dlib-resnet-v1",
        description="The model that turns a face into an embedding. Features of one embedder can't be compared with "
        "those of another: change it and every stored feature must be extracted again.",
    )
    placement: Literal["auto", "inside", "processes"] = Field(
        "auto",
        description="Where the models run. `inside`: in the API processes themselves, which saves a copy and a hop for "
        "each image. `processes`: each in a process of its own, where the images of all API processes are put into "
        "batches. `auto`: inside on a CPU, where a batch takes longer than its images one by one; in processes on a "
        "GPU.",
    )
    threads: int = Field(
        default_factory=values.cores,
        ge=1,
        le=256,
        description="On a CPU, the images that are worked on at once, one thread each: by each runner in its own "
        "process, or, where they are inside, by all API processes together, decoding included. More than the cores "
        "only makes them wait for each other.",
    )
    decode_threads: int = Field(
        default_factory=values.cores,
        ge=1,
        le=256,
        description="Where the models run in processes of their own, the images that all API processes together "
        "decode, scale and align at once. More than the cores only makes them wait for each other.",
    )
    workers: int = Field(
        0,
        ge=0,
        le=64,
        description="API processes. Each parses its requests on one core, and costs about 150 MB, or 260 MB with the "
        "starter models inside. 0: one for every four of `FACEBENTO_THREADS` or `FACEBENTO_DECODE_THREADS`, whichever "
        "is more; but four at the most.",
    )
    detector_batch_size: int = Field(
        16,
        ge=2,  # BentoML takes no less
        le=256,
        description="The most images in one batch of the detector. On a GPU, larger ones raise throughput, latency and "
        "GPU memory.",
    )
    embedder_batch_size: int = Field(
        32, ge=2, le=1024, description="The most faces in one batch of the embedder; the trade-off is the same."
    )
    max_in_flight: int = Field(
        512,
        ge=1,
        description="Requests that are arriving, waiting or in work at a time, over all API processes; one more is "
        "answered with 429 at once. A high limit lets a burst wait for its turn, where a low one refuses it.",
    )
    max_concurrency: int = Field(
        0,
        ge=0,
        description="Requests in work at a time, over all API processes; others wait, and where more keep coming than "
        "are done, they are answered with 429. 0: 8 for each of `FACEBENTO_THREADS` where the models run on a "
        "CPU, 128 where they run on a GPU. More of them make larger batches, and clients wait for longer under load.",
    )
    deadline_s: float = Field(
        30,
        ge=0.1,
        le=3600,
        description="Seconds after which a request is given up with 504. Clients behind it have waited in vain; a "
        "shorter one frees the queue sooner.",
    )
    max_body_bytes: int = Field(
        10 * 1024 * 1024,
        ge=1024,
        description="The largest request body, in bytes; a larger one is answered with 413. Base64 makes an image a "
        "third larger.",
    )
    max_body_memory_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        description="The bytes that the bodies of all requests may hold together, in each API process; one more is "
        "answered with 429. While it is read, a body takes up to three times its size. At least "
        "`FACEBENTO_MAX_BODY_BYTES`.",
    )
    max_pixels: int = Field(
        50_000_000,
        ge=112 * 112,
        description="The largest image, in pixels (width times height), told from its header. A limit on memory: "
        "a file of a few kB can hold a hundred million pixels.",
    )
    small_faces: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether pictures are searched in tiles for faces that are too small on the detector's canvas. "
        "`auto`: where more than the largest face is asked for, and the whole picture shows nobody, or a crowd of "
        "small faces. `always`: in every picture. `never`: only the whole picture is looked at. Each tile is as much "
        "work for the detector as a picture of its own. One picture is searched at "
        "a time for four of `FACEBENTO_DECODE_THREADS`, and at least one, in each API process; as many may wait, and "
        "one more is answered with 429.",
    )
    smallest_face: int = Field(
        12,
        ge=4,
        le=1000,
        description="The smallest face that such a search is to find, in pixels (the longer side of its box). Half the "
        "size takes four times as many tiles; a picture of 12 megapixels has 177 of them for faces of 12 pixels.",
    )
    max_tiles: int = Field(
        200,
        ge=4,
        le=10_000,
        description="The most tiles of one picture; where there would be more, faces have to be larger to be found. On "
        "a CPU, 12 megapixels take CenterFace 12 seconds of a core with 200, and 4 seconds with 64.",
    )
    rotations: bool = Field(
        default=False,
        description="Whether pictures whose EXIF data don't tell which side is up are looked at in four turns, for "
        "faces that lie on their side or stand on their head. Detecting takes four times as long, and a search has a "
        "quarter of `FACEBENTO_MAX_TILES`.",
    )
    max_image_memory_bytes: int = Field(
        768 * 1024 * 1024,
        ge=1024 * 1024,
        description="The memory that decoded images may take in each API process, all requests together; a request "
        "waits for its share, first come, first served. More lets more large images be in work at once. An image "
        "takes up to 7 bytes a pixel while it is decoded (a progressive JPEG 15, a WebP 19) and 3 while its faces are "
        "looked for; a baseline JPEG much larger than the detector's canvas a fraction of that. One that needs more "
        "than all of it is worked on alone, and may exceed it.",
    )
    traces: Annotated[str, AfterValidator(values.spans_url)] = Field(
        "",
        description="The OpenTelemetry collector that traces are sent to, by OTLP over HTTP: `http://collector:4318`, "
        "to which `/v1/traces` is added unless the URL ends with it. Each request with a good key makes ten to "
        "thirty spans; ten take about a millisecond of CPU. Not set: none are made.",
    )

    @model_validator(mode="after")
    def _keys_are_readable(self) -> Self:
        self.keys()
        return self

    @model_validator(mode="after")
    def _a_body_fits(self) -> Self:
        if self.max_body_memory_bytes < self.max_body_bytes:
            raise ValueError(
                f"{PREFIX}MAX_BODY_MEMORY_BYTES: must be at least {PREFIX}MAX_BODY_BYTES, {self.max_body_bytes}: the "
                "largest bodies would always be refused"
            )
        return self

    @property
    def api_workers(self) -> int:
        threads = max(self.threads, self.decode_threads)
        return self.workers or min(MOST_WORKERS, -(-threads // THREADS_PER_WORKER))

    def runners_inside(self, *, on_cpu: bool) -> bool:
        """Whether the API processes run the models, which are on a CPU or not."""
        return self.placement == "inside" or (self.placement == "auto" and on_cpu)

    def keys(self) -> Keys:
        """The keys of the variable and of the file. Raises ValueError, naming the variable that is wrong."""
        texts = [(f"{PREFIX}API_KEYS", self.api_keys.get_secret_value().split(","))]
        if self.api_keys_file is not None:
            variable = f"{PREFIX}API_KEYS_FILE"
            try:
                lines = self.api_keys_file.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise ValueError(
                    f"{variable} names {self.api_keys_file.absolute()}, which can't be read: {reason}."
                ) from None
            texts.append((variable, [line for line in lines if not line.lstrip().startswith("#")]))
        return read_keys(texts)


def load(defaults: Mapping[str, str] | None = None) -> Settings:
    """The settings, with or without a key among them. `defaults`: in place of those here, for what is not set.

    Raises SettingsError, a line for each variable that is wrong.
    """
    try:
        found = Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_line(e["loc"], e["msg"]) for e in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"The file .env in {Path.cwd()} can't be read: {reason}.") from None
    unset = {name: value for name, value in (defaults or {}).items() if name not in found.model_fields_set}
    return found.model_copy(update=unset)


def require_key(settings: Settings) -> None:
    """To be called before serving. Raises SettingsError where there is no key: nobody could be let in."""
    keys = settings.keys()
    if not keys.live:
        file = settings.api_keys_file
        nowhere = (
            f"nor is {PREFIX}API_KEYS_FILE" if file is None else f"and {PREFIX}API_KEYS_FILE, {file}, holds no key"
        )
        missing = (
            f"{PREFIX}API_KEYS: not set, {nowhere}, and without a key nobody could be let in. Set it to one or more "
            "keys, separated by commas. `facebento serve` makes a key where there is none."
        )
        if keys.expired:
            missing = f"{PREFIX}API_KEYS: every key has expired, and nobody could be let in: {keys.describe()}."
        raise SettingsError("\n".join([missing, *unknown_variables()]))


def _line(location: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{PREFIX}{str(location[0]).upper()}: {text}" if location else text


def unknown_variables() -> list[str]:
    """A line for each variable with the prefix, set or in .env, that is no setting: mostly a misspelt one.

    They can't stop the start: beside a service called facebento, Kubernetes puts FACEBENTO_PORT and the like into pods.
    """
    known = [name.upper() for name in Settings.model_fields]
    given = {name.upper() for name in (*os.environ, *DotEnvSettingsSource(Settings).env_vars)}
    # Compared without the prefix, which would make every one of them look like every other.
    unknown = {name.removeprefix(PREFIX) for name in given if name.startswith(PREFIX)}.difference(known)
    lines = []
    if CLIENTS_KEY in unknown:
        unknown.remove(CLIENTS_KEY)
        lines.append(f"{PREFIX}{CLIENTS_KEY} is a client's, without effect here. The service's keys: {PREFIX}API_KEYS.")
    for name in sorted(unknown):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
        lines.append(f"{PREFIX}{name} is no setting and has no effect.{hint}")
    return lines
