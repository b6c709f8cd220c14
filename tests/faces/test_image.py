import io
import struct
import tracemalloc
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from faces import image as faces_image
from faces.errors import (
    ImageCorruptError,
    ImageError,
    ImageSideTooLongError,
    ImageTooManyPixelsError,
    ImageTooManyScansError,
    ImageTooNarrowError,
    ImageUnsupportedFormatError,
)
from tests.inputs.pictures import UNDONE, Pixels, encoded, foreign, png

LIMIT = 1_000_000
FORMATS = ["JPEG", "PNG", "WEBP", "BMP"]


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    return faces_image.decode(data, max_pixels=max_pixels).pixels


def over_white(rgb: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float64]:
    share = alpha[..., None].astype(np.float64) / 255
    return rgb * share + 255 * (1 - share)


def assert_alike(found: NDArray[Any], expected: NDArray[Any], *, mean: float = 0.0, most: float = 0.0) -> None:
    assert found.shape == expected.shape
    apart = np.abs(found.astype(np.float64) - expected)
    assert apart.mean() <= max(mean, most)
    assert apart.max() <= (most or 255)


@pytest.mark.parametrize(
    ("fmt", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_give_the_very_pixels(photo: Pixels, fmt: str, options: dict[str, Any]) -> None:
    assert np.array_equal(decode(encoded(photo, fmt, **options), max_pixels=LIMIT), photo)


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": "4:1:1"}),
        ("WEBP", {"quality": 95}),
    ],
)
def test_lossy_formats_give_the_picture(photo: Pixels, fmt: str, options: dict[str, Any]) -> None:
    assert_alike(decode(encoded(photo, fmt, **options), max_pixels=LIMIT), photo, mean=6)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_result_is_contiguous_rgb(photo: Pixels, fmt: str) -> None:
    tall = Image.fromarray(photo)
    exif = tall.getexif()
    exif[ExifTags.Base.Orientation] = 6
    result = decode(encoded(tall, fmt, exif=exif) if fmt != "BMP" else encoded(tall, fmt), max_pixels=LIMIT)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.shape == ((60, 80, 3) if fmt == "BMP" else (80, 60, 3))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("fmt", ["PNG", "BMP"])
def test_grey_palette_and_one_bit_images_equal_their_rgb_twin(photo: Pixels, mode: str, fmt: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    assert image.mode == mode
    assert np.array_equal(decode(encoded(image, fmt), max_pixels=LIMIT), np.asarray(image.convert("RGB")))


def test_a_grey_jpeg_equals_its_rgb_twin(photo: Pixels) -> None:
    grey = Image.fromarray(photo).convert("L")
    found = decode(encoded(grey, "JPEG", quality=95), max_pixels=LIMIT)
    assert_alike(found, np.asarray(grey.convert("RGB")), mean=2)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_alpha_is_laid_over_white(photo: Pixels, mode: str, fmt: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    alpha = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    image.putalpha(Image.fromarray(alpha))
    expected = over_white(np.asarray(image.convert("RGB")), alpha)
    options = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
    assert_alike(decode(encoded(image, fmt, **options), max_pixels=LIMIT), expected, most=1)


def test_one_transparent_palette_entry_turns_white(photo: Pixels) -> None:
    image = Image.fromarray(photo).quantize(16)
    gone = np.asarray(image) == 3
    assert gone.any()
    expected = np.asarray(image.convert("RGB")).copy()
    expected[gone] = 255
    assert np.array_equal(decode(encoded(image, transparency=3), max_pixels=LIMIT), expected)


def test_half_transparent_palette_entries_are_laid_over_white(photo: Pixels) -> None:
    image = Image.fromarray(photo).quantize(16)
    alphas = np.linspace(0, 255, 16).astype(np.uint8)
    expected = over_white(np.asarray(image.convert("RGB")), alphas[np.asarray(image)])
    assert_alike(decode(encoded(image, transparency=alphas.tobytes()), max_pixels=LIMIT), expected, most=1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_turns_white(mode: str) -> None:
    image = Image.new(mode, (4, 2), "black")
    image.paste("white", (0, 0, 1, 1))
    image.paste("grey", (1, 0, 2, 1))
    found = decode(encoded(image, transparency=0 if mode == "L" else (0, 0, 0)), max_pixels=LIMIT)
    assert found[:, :, 0].tolist() == [[255, 128, 255, 255], [255, 255, 255, 255]]


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    found = decode(encoded(ramp), max_pixels=LIMIT)
    assert_alike(found, np.repeat((ramp / 257)[:, :, None], 3, axis=2), most=1)
    assert (found[:, :, 0] == found[:, :, 2]).all()


def test_16_bit_colour_is_scaled_and_not_clipped(photo: Pixels) -> None:
    deep = photo.astype(np.uint16) * 257 - (photo > 0) * np.uint16(100)
    done, file = cv2.imencode(".png", deep[:, :, ::-1])
    assert done
    assert_alike(decode(file.tobytes(), max_pixels=LIMIT), photo, most=1)


def test_16_bit_colour_with_alpha_is_laid_over_white(photo: Pixels) -> None:
    alpha = np.full((60, 80, 1), 128, np.uint8)
    deep = np.concatenate([photo[:, :, ::-1], alpha], axis=2).astype(np.uint16) * 257
    done, file = cv2.imencode(".png", deep)
    assert done
    assert_alike(decode(file.tobytes(), max_pixels=LIMIT), over_white(photo, alpha[:, :, 0]), most=1)


@pytest.mark.parametrize("depth", [1, 8, 16])
def test_a_transparent_grey_turns_white_whatever_its_depth(depth: int) -> None:
    # Two pixels: the darkest but one (black at a depth of 1), which is transparent, and the lightest but one.
    dark, light = (0, 1) if depth == 1 else (1, (1 << depth) - 2)
    bits = f"{dark:0{depth}b}{light:0{depth}b}"
    line = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    file = png(2, 1, depth, 0, b"\0" + line, (b"tRNS", struct.pack(">H", dark)))
    found = decode(file, max_pixels=LIMIT)[0, :, 0]
    assert found[0] == 255
    assert abs(int(found[1]) - 255 * light / ((1 << depth) - 1)) <= 1


def test_a_transparent_16_bit_colour_is_still_a_picture() -> None:
    line = struct.pack(">6H", 0x1234, 0x1234, 0x1234, 0x8000, 0x8000, 0x8000)
    file = png(2, 1, 16, 2, b"\0" + line, (b"tRNS", struct.pack(">3H", 0x1234, 0x1234, 0x1234)))
    found = decode(file, max_pixels=LIMIT)
    assert found[0, 1].tolist() == [0x80] * 3


def test_a_cmyk_jpeg_equals_its_rgb_twin(photo: Pixels) -> None:
    image = Image.fromarray(photo).convert("CMYK")
    assert_alike(decode(encoded(image, "JPEG", quality=98), max_pixels=LIMIT), photo, mean=3)


def test_a_ycck_jpeg_equals_its_rgb_twin(photo: Pixels) -> None:
    # Pillow writes no YCCK: its planes are written as if they were CMYK's (which it inverts), and the Adobe marker is
    # told the truth afterwards.
    inks = Image.fromarray(255 - photo).convert("YCbCr")
    planes = [Image.fromarray(255 - np.asarray(plane)) for plane in inks.split()]
    file = encoded(Image.merge("CMYK", [*planes, Image.new("L", inks.size, 0)]), "JPEG", quality=98)
    transform = file.index(b"Adobe") + 11
    assert file[transform] == 0
    file = file[:transform] + b"\2" + file[transform + 1 :]
    assert_alike(decode(file, max_pixels=LIMIT), photo, mean=3)


@pytest.mark.parametrize("orientation", UNDONE)
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_every_exif_orientation_gives_the_upright_picture(photo: Pixels, orientation: int, fmt: str) -> None:
    upright = Image.fromarray(photo)
    undo = UNDONE[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"quality": 95, "subsampling": 0} if fmt == "JPEG" else {"lossless": True} if fmt == "WEBP" else {}
    found = decode(encoded(stored, fmt, exif=exif, **options), max_pixels=LIMIT)
    assert_alike(found, photo, mean=3)


def test_only_exif_turns_a_picture(photo: Pixels) -> None:
    """As in browsers: XMP and a text of ImageMagick's turn nothing, though Pillow's getexif takes them for EXIF."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = exif.tobytes()
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n")
    image = Image.fromarray(photo)
    for fmt, options in (("JPEG", {"xmp": xmp}), ("PNG", {"pnginfo": text})):
        file = io.BytesIO()
        image.save(file, fmt, **options)
        with Image.open(io.BytesIO(file.getvalue())) as read:
            assert read.getexif()[ExifTags.Base.Orientation] == 6
        assert decode(file.getvalue(), max_pixels=photo.size).shape == photo.shape


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_ignored(photo: Pixels, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert np.array_equal(decode(encoded(photo, exif=exif), max_pixels=LIMIT), photo)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # of Pillow's, which goes to the log
@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"],
)
@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
def test_broken_exif_does_not_spoil_the_picture(photo: Pixels, exif: bytes, fmt: str) -> None:
    assert_alike(decode(encoded(photo, fmt, exif=exif, quality=95), max_pixels=LIMIT), photo, mean=6)


@pytest.mark.parametrize(("fmt", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_of_an_animation_the_first_frame_is_taken(photo: Pixels, fmt: str, options: dict[str, Any]) -> None:
    others = [Image.fromarray(255 - photo), Image.fromarray(photo[::-1])]
    file = encoded(photo, fmt, save_all=True, append_images=others, duration=100, **options)
    with Image.open(io.BytesIO(file)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert np.array_equal(decode(file, max_pixels=LIMIT), photo)


def test_of_several_pictures_in_one_jpeg_the_first_is_taken(photo: Pixels) -> None:
    file = encoded(photo, "MPO", save_all=True, append_images=[Image.fromarray(255 - photo)], quality=95)
    assert_alike(decode(file, max_pixels=LIMIT), photo, mean=6)


def test_what_follows_a_picture_is_ignored(photo: Pixels) -> None:
    file = encoded(photo, "JPEG", quality=95) + b"PK\3\4" + b"anything" * 100
    assert_alike(decode(file, max_pixels=LIMIT), photo, mean=6)


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (10_000, 157)])
@pytest.mark.parametrize("fmt", FORMATS)
def test_the_thinnest_pictures_are_read(size: tuple[int, int], fmt: str) -> None:
    found = decode(encoded(Image.new("RGB", size, "white"), fmt), max_pixels=10 * LIMIT)
    assert found.shape == (size[1], size[0], 3)
    assert found.min() >= 250


def test_nothing_at_all_is_corrupt() -> None:
    with pytest.raises(ImageCorruptError, match="empty"):
        decode(b"", max_pixels=LIMIT)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_corrupt(photo: Pixels, fmt: str, share: float) -> None:
    file = encoded(photo, fmt)
    with pytest.raises(ImageCorruptError, match=fmt):
        decode(file[: int(len(file) * share)], max_pixels=LIMIT)


@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\xffWEBP", b"BM"])
def test_a_signature_with_nothing_behind_it_is_corrupt(head: bytes) -> None:
    for tail in (b"", b"\0" * 100, b"\xff" * 100):
        with pytest.raises(ImageCorruptError):
            decode(head + tail, max_pixels=LIMIT)


@pytest.mark.parametrize("chunk", [b"IHDR", b"IDAT"])
def test_a_png_with_a_wrong_checksum_is_corrupt(photo: Pixels, chunk: bytes) -> None:
    file = bytearray(encoded(photo))
    begin = file.index(chunk)
    (length,) = struct.unpack(">I", file[begin - 4 : begin])
    file[begin + 4 + length] ^= 1
    with pytest.raises(ImageCorruptError):
        decode(bytes(file), max_pixels=LIMIT)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (0, 0), (2**31, 1), (2**32 - 1, 2**32 - 1)])
def test_impossible_sizes_are_refused(width: int, height: int) -> None:
    header = struct.pack(
        "<2sIHHIIiiHHIIiiII",
        b"BM",
        100,
        0,
        0,
        54,
        40,
        *np.array([width, height], np.uint32).astype(np.int32).tolist(),
        1,
        24,
        0,
        0,
        0,
        0,
        0,
        0,
    )
    for file in (png(width, height, 8, 2, b"\0" * 100), header + b"\0" * 100):
        with pytest.raises(ImageError):
            decode(file, max_pixels=LIMIT)


@pytest.mark.parametrize("name", foreign())
def test_other_formats_are_unsupported(name: str) -> None:
    with pytest.raises(ImageUnsupportedFormatError):
        decode(foreign()[name], max_pixels=LIMIT)


def test_a_small_file_of_169_million_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = png(13_000, 13_000, 1, 0, b"\0" * (13_000 * (1 + 13_000 // 8)))
    assert len(file) < 50_000
    loaded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded.append)
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooManyPixelsError, match="13000 x 13000"):
            decode(file, max_pixels=50_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not loaded
    assert peak < 1_000_000


def test_a_declared_size_is_enough_to_refuse() -> None:
    with pytest.raises(ImageTooManyPixelsError, match=r"50000 x 50000.*50,000,000"):
        decode(png(50_000, 50_000, 8, 2, b""), max_pixels=50_000_000)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_limit_is_a_number_of_pixels_and_allowed_itself(fmt: str) -> None:
    file = encoded(Image.new("RGB", (30, 20)), fmt)
    assert decode(file, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(ImageTooManyPixelsError, match="30 x 20"):
        decode(file, max_pixels=599)


def test_a_text_bomb_is_refused_without_unpacking_it() -> None:
    bomb = b"Comment\0\0" + zlib.compress(b"\0" * 30_000_000)
    file = png(1, 1, 8, 0, b"\0\0", (b"zTXt", bomb))
    tracemalloc.start()
    try:
        with pytest.raises(ImageCorruptError):
            decode(file, max_pixels=LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("fmt", FORMATS)
def test_whatever_is_broken_in_a_file_is_an_image_error(photo: Pixels, fmt: str) -> None:
    random = np.random.default_rng(0)
    file = np.frombuffer(encoded(photo[:24, :24], fmt), np.uint8)
    refused = 0
    for _ in range(150):
        broken = file.copy()
        where = random.integers(0, min(len(file), 200), 4)
        broken[where] = random.integers(0, 256, 4)
        try:
            found = decode(broken.tobytes(), max_pixels=LIMIT)
        except ImageError:
            refused += 1
        else:
            assert found.ndim == 3
            assert found.size > 0
    assert refused > 10


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise AssertionError("pixels are decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(("width", "height"), [(1, 65), (65, 1), (1, 10_000), (6401, 100)])
def test_a_picture_that_can_show_no_face_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    with pytest.raises(ImageTooNarrowError, match=f"{width} x {height} pixels"):
        decode(png(width, height, 8, 2, b""), max_pixels=LIMIT)


@pytest.mark.usefixtures("nothing_loads")
def test_a_side_too_long_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageSideTooLongError, match="32768 x 1000"):
        decode(png(32_768, 1000, 8, 2, b""), max_pixels=50_000_000)


@pytest.mark.parametrize(("width", "height"), [(20_000, 2500), (32_767, 512)])
def test_a_panorama_is_a_picture(width: int, height: int) -> None:
    header = faces_image.read_header(png(width, height, 8, 2, b""), max_pixels=50_000_000)
    assert (header.width, header.height) == (width, height)


def progressive(scans: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A JPEG whose last scan is there so many times more."""
    file = encoded(Image.new("L", size, 100), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:last] + file[last:-2] * (scans + 1) + file[-2:]


@pytest.mark.usefixtures("nothing_loads")
def test_a_jpeg_that_would_take_hours_is_refused_before_it_is_decoded() -> None:
    file = progressive(100_000, (4000, 4000))
    assert len(file) < 10_000_000
    with pytest.raises(ImageTooManyScansError, match="4000 x 4000"):
        decode(file, max_pixels=50_000_000)


def test_scans_are_passes_over_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    own = progressive(0).count(b"\xff\xda")
    monkeypatch.setattr(faces_image, "MAX_SCANNED_PIXELS", 64 * 64 * (own + 5))
    assert decode(progressive(5), max_pixels=LIMIT).shape == (64, 64, 3)
    with pytest.raises(ImageTooManyScansError, match=f"{own + 6} scans"):
        decode(progressive(6), max_pixels=LIMIT)
    # Of a baseline JPEG there is one, whatever follows it.
    baseline = encoded(Image.new("RGB", (64, 64)), "JPEG") + b"\xff\xda" * 1000
    assert decode(baseline, max_pixels=LIMIT).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("mode", "fmt", "options", "peak"),
    [
        ("RGB", "JPEG", {}, 7),
        ("L", "JPEG", {}, 4),
        ("RGB", "JPEG", {"progressive": True, "subsampling": "4:2:0"}, 10),
        ("RGB", "JPEG", {"progressive": True, "subsampling": "4:4:4"}, 13),
        ("CMYK", "JPEG", {"progressive": True}, 15),
        ("RGB", "PNG", {}, 7),
        ("RGBA", "PNG", {}, 7),
        ("P", "PNG", {}, 4),
        ("I;16", "PNG", {}, 5),
        ("RGB", "WEBP", {}, 19),
        ("RGB", "BMP", {}, 7),
    ],
)
def test_what_decoding_takes_is_told_from_the_header(mode: str, fmt: str, options: dict[str, Any], peak: int) -> None:
    # Bytes a pixel, as measured by the resident memory of a process that decoded 24 megapixels.
    file = encoded(Image.new(mode, (1000, 800)), fmt, **options)
    header = faces_image.read_header(file, max_pixels=LIMIT)
    smallest = faces_image.read_header(encoded(Image.new(mode, (1, 1)), fmt, **options), max_pixels=LIMIT)
    assert header.peak_bytes(1) - smallest.peak_bytes(1) == pytest.approx(peak * 800_000, rel=1e-3)
    assert header.kept_bytes(1) == decode(file, max_pixels=LIMIT).nbytes
    if fmt == "JPEG":
        reduced = faces_image.decode(file, max_pixels=LIMIT, reduction=8)
        assert header.kept_bytes(8) == reduced.pixels.nbytes == 3 * 125 * 100


def test_a_jpeg_in_several_scans_is_gathered_before_it_is_decoded() -> None:
    # Baseline, but each component in a scan of its own: the decoder keeps the coefficients of all.
    file = encoded(Image.new("RGB", (1000, 800)), "JPEG", subsampling="4:4:4")
    scan = file.index(b"\xff\xda\x00\x0c\x03")
    alone = file[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + file[scan + 14 :]
    together, apart = (faces_image.read_header(each, max_pixels=LIMIT).peak_bytes(1) for each in (file, alone))
    assert apart - together == 6 * 800_000


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_jpeg_is_corrupt_also_where_it_is_reduced(
    astronaut: Pixels, options: dict[str, Any], share: float
) -> None:
    file = encoded(astronaut, "JPEG", **options)
    with pytest.raises(ImageCorruptError, match="JPEG"):
        faces_image.decode(file[: int(len(file) * share)], max_pixels=LIMIT, reduction=8)


@pytest.mark.parametrize("mode", ["P", "RGBA", "I;16", "1", "CMYK"])
def test_strips_join_without_a_seam(monkeypatch: pytest.MonkeyPatch, astronaut: Pixels, mode: str) -> None:
    image = Image.fromarray(astronaut[:, :400])
    image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8) if mode == "I;16" else image
    image = image if mode == "I;16" else image.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(astronaut[:, :400, 0]))
    file = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    monkeypatch.setattr(faces_image, "_STRIP_PIXELS", 512 * 512)
    whole = decode(file, max_pixels=LIMIT)
    monkeypatch.setattr(faces_image, "_STRIP_PIXELS", 400 * 7)  # 512 rows are no multiple of 7
    assert np.array_equal(decode(file, max_pixels=LIMIT), whole)
