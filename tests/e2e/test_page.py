"""What the page shows of photos, in a real browser: held against what the service answers for them."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from selenium.webdriver.common.by import By

from faces.alignment import similarity
from faces.templates import ARCFACE_TEMPLATE
from tests.e2e.browsing import Page
from tests.e2e.running import PROJECT, encoded

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ASTRONAUT = PROJECT / "docs" / "images" / "astronaut.jpg"
TWO = PROJECT / "docs" / "images" / "answer.jpg"


def answer(page: Page, *photos: Path, **fields: int) -> Any:
    """The service's own, to the request that the page makes."""
    path = "detect" if len(photos) == 1 else "score"
    names = ["image"] if len(photos) == 1 else ["image1", "image2"]
    files = {name: photo.read_bytes() for name, photo in zip(names, photos, strict=True)}
    return page.server.answer(f"/v1/file/{path}", files=files, data=fields)


def drawn(page: Page, photo: int) -> list[dict[str, Any]]:
    """Boxes and points as they lie on the screen, in pixels of the picture."""
    shown: list[dict[str, Any]] = page.run(
        """
        const stage = document.querySelector(`#photo-${arguments[0]} .stage`);
        const image = stage.querySelector("img");
        const picture = image.getBoundingClientRect();
        const scale = image.naturalWidth / picture.width;
        const inPicture = (x, y) => [(x - picture.x) * scale, (y - picture.y) * scale];
        return [...stage.querySelectorAll(".marks g")].map((group) => {
            const box = group.querySelector(".box:not(.under)");
            const points = group.querySelector(".points:not(.under)");
            const matrix = points.getScreenCTM();
            const at = ([, x, y]) => {
                const point = new DOMPoint(Number(x), Number(y)).matrixTransform(matrix);
                return inPicture(point.x, point.y);
            };
            const rectangle = box.getBoundingClientRect();
            return {
                box: [...inPicture(rectangle.left, rectangle.top), ...inPicture(rectangle.right, rectangle.bottom)],
                points: [...points.getAttribute("d").matchAll(/M(\\S+) (\\S+)h0/g)].map(at),
            };
        });
        """,
        photo,
    )
    return shown


def assert_drawn(page: Page, photo: int, faces: list[Any]) -> None:
    marks = drawn(page, photo)
    assert len(marks) == len(faces)
    for mark, face in zip(marks, faces, strict=True):
        box = face["boundingBox"]
        assert mark["box"] == pytest.approx([box["left"], box["top"], box["right"], box["bottom"]], abs=0.5)
        centres = [[point["x"] + 0.5, point["y"] + 0.5] for point in face["landmarks"]]
        np.testing.assert_allclose(mark["points"], centres, atol=0.5)


@pytest.fixture
def keyed(page: Page) -> Page:
    page.enter_key()
    return page


@pytest.mark.parametrize(("width", "density"), [(1280, 1), (360, 3)])
def test_boxes_landmarks_and_confidences_lie_where_the_service_says(keyed: Page, width: int, density: int) -> None:
    keyed.look(width=width, density=density)
    keyed.put(1, TWO)
    told = answer(keyed, TWO)
    assert len(told["faces"]) == 2
    assert_drawn(keyed, 1, told["faces"])
    confidences = [f"{face['confidence']:.2f}" for face in told["faces"]]
    tags = [tag.text for tag in keyed.all("#photo-1 .tags span")]
    assert tags == [f"{number} · {confidence}" for number, confidence in enumerate(confidences, 1)]
    assert keyed.text("#photo-1 .status").startswith("2 faces. Answered in ")
    cards = [card.text.split("\n") for card in keyed.all("#photo-1 .face")]
    assert cards == [[f"Face {number}", f"confidence {value}"] for number, value in enumerate(confidences, 1)]
    # And the same in text, to a pixel and with the whole answer.
    keyed.find("#photo-1 summary").click()
    [row, _] = keyed.all("#photo-1 tbody tr")
    box, points = told["faces"][0]["boundingBox"], told["faces"][0]["landmarks"]
    cells = [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "td")]
    assert cells[1] == f"{box['left']}, {box['top']} \u2013 {box['right']}, {box['bottom']}"
    assert cells[2] == " · ".join(f"{point['x']}, {point['y']}" for point in points)
    assert json.loads(keyed.text("pre.json")) == told


def test_the_crops_show_what_the_service_aligns(keyed: Page) -> None:
    keyed.put(1, ASTRONAUT)
    face = answer(keyed, ASTRONAUT)["faces"][0]
    side, pixels = keyed.run(
        """
        const canvas = document.querySelector("#photo-1 canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.width, btoa(String.fromCharCode(...data))];
        """
    )
    shown = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(side, side, 4)[..., :3].astype(float)
    landmarks = np.array([[point["x"], point["y"]] for point in face["landmarks"]], np.float32)
    matrix = similarity(landmarks, ARCFACE_TEMPLATE)
    with Image.open(ASTRONAUT) as picture:
        # Pillow's transform goes from the crop to the picture, by pixels' corners instead of their centres.
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        by_corners = half @ inverse @ np.linalg.inv(half)
        size, method, coefficients = (side, side), Image.Transform.AFFINE, by_corners[:2].ravel().tolist()
        expected = np.asarray(picture.convert("RGB").transform(size, method, coefficients, Image.Resampling.BILINEAR))

    def difference(shift: int) -> float:
        return float(np.abs(np.roll(shown, shift, 1) - expected)[8:-8, 8:-8].mean())

    assert difference(0) < 4
    assert difference(0) < 0.6 * min(difference(-1), difference(1))


TURNS = range(2, 9)


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """As a camera stores a picture that is pixels when it is upright: TIFF 6.0, Orientation."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    rows, columns = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1)}[
        {5: 1, 6: 4, 7: 3, 8: 2}.get(orientation, orientation)
    ]
    return np.ascontiguousarray(pixels[::rows, ::columns])


def test_a_picture_stands_upright_as_it_does_in_the_service(
    keyed: Page, astronaut: NDArray[np.uint8], photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Where the browser itself turns it, and where the page has to."""

    def saved(pixels: NDArray[np.uint8], orientation: int, kind: str) -> Path:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        file = tmp_path / f"{orientation}.{kind}"
        Image.fromarray(turned(pixels, orientation)).save(file, kind, exif=exif, quality=95)
        return file

    for kind in ("JPEG", "PNG", "WebP"):
        file = saved(astronaut[:320, 100:340], 6, kind)
        keyed.put(1, file)
        assert "240 \u00d7 320" in keyed.text("#photo-1 figcaption")
        assert_drawn(keyed, 1, answer(keyed, file)["faces"])
    files = [encoded(saved(photo, orientation, kind).read_bytes()) for kind in ("PNG", "WebP") for orientation in TURNS]
    shown = keyed.wait_for(
        """
        const { upright } = await import("./page/orientation.js");
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [80, 60];
        const context = canvas.getContext("2d", { willReadFrequently: true });
        const seen = [];
        for (const file of arguments[0]) {
            const bytes = Uint8Array.from(atob(file), (each) => each.charCodeAt(0));
            const url = URL.createObjectURL(await upright(new File([bytes], "photo")));
            const image = new Image();
            image.src = url;
            await image.decode();
            context.drawImage(image, 0, 0);
            URL.revokeObjectURL(url);
            const { data } = context.getImageData(0, 0, 80, 60);
            seen.push([image.naturalWidth, image.naturalHeight, btoa(String.fromCharCode(...data))]);
        }
        return seen;
        """,
        files,
    )
    for width, height, data in shown:
        assert (width, height) == (80, 60)
        pixels = np.frombuffer(base64.b64decode(data), np.uint8).reshape(60, 80, 4)[..., :3]
        assert np.abs(pixels.astype(int) - photo).mean() < 8


def test_two_photos_are_compared_against_the_operating_point(keyed: Page, tmp_path: Path) -> None:
    keyed.put(1, ASTRONAUT)
    keyed.put(2, TWO)
    told = answer(keyed, ASTRONAUT, TWO)
    assert told["score"] < 0.4
    assert keyed.text("#comparison-status") == f"Likely different people. Score {told['score']:.3f}."
    left, line = (
        keyed.run(f'return document.querySelector("#comparison {part}").style.left') for part in (".pin", ".line")
    )
    assert float(left[:-1]) == pytest.approx(100 * told["score"], abs=1e-3)  # as a browser rounds it
    assert line == "50%"
    assert f"{told['score']:.3f}" in str(keyed.find("#comparison .scale").get_attribute("aria-label"))
    [point] = keyed.server.read("/v1/info/model/dlib-resnet-v1")["operating_points"]
    words = keyed.text("#comparison-result")
    assert "0.5 is the published operating point of the embedder dlib-resnet-v1." in words
    assert f"There, {100 * point['accuracy']:g}% of the pairs were judged rightly on {point['data']}." in words
    assert "not a probability" in words
    assert json.loads(keyed.text("pre.json")) == told
    # The same person, in another picture.
    with Image.open(ASTRONAUT) as picture:
        picture.rotate(8).resize((400, 400)).save(tmp_path / "again.jpg")
    keyed.put(2, tmp_path / "again.jpg")
    same = answer(keyed, ASTRONAUT, tmp_path / "again.jpg")["score"]
    assert same > 0.6
    assert keyed.text("#comparison-status") == f"Likely the same person. Score {same:.3f}."


def test_a_score_near_the_line_is_told_to_be_that(page: Page) -> None:
    judged = page.wait_for(
        """
        const { verdict } = await import("./page/comparison.js");
        return [0, 0.39, 0.41, 0.5, 0.59, 0.61, 1].map(verdict);
        """
    )
    assert judged == ["different", "different", "near", "near", "near", "same", "same"]


def test_where_no_face_is_found_none_is_compared(keyed: Page, cat: NDArray[np.uint8], tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    Image.fromarray(cat).save(file)
    keyed.put(1, ASTRONAUT)
    keyed.put(2, file)
    assert keyed.text("#photo-2 .status").startswith("No face was found. Answered in ")
    assert keyed.text("#comparison-status") == "There is nothing to compare: no face was found in photo 2."
    assert keyed.all("#comparison .pin") == []
    keyed.find("#photo-2 .remove").click()
    assert not keyed.find("#comparison").is_displayed()


def test_the_settings_are_those_of_the_request(keyed: Page) -> None:
    keyed.put(1, TWO)
    keyed.find("#order option[value='2']").click()
    keyed.settle()
    told = answer(keyed, TWO, detectSortType=2)
    assert told != answer(keyed, TWO)
    assert json.loads(keyed.text("pre.json")) == told
    keyed.run('const most = document.querySelector("#most"); most.value = "1"; most.dispatchEvent(new Event("change"))')
    keyed.settle()
    assert json.loads(keyed.text("pre.json")) == answer(keyed, TWO, detectSortType=2, maxResults=1)
    for wrong, right in (("0", "1"), ("9999", "750"), ("", "750"), ("2.4", "2")):
        keyed.run(
            'const most = document.querySelector("#most"); most.value = arguments[0];'
            'most.dispatchEvent(new Event("change"))',
            wrong,
        )
        assert keyed.find("#most").get_property("value") == right
    keyed.settle()


def test_many_faces_are_shown_as_they_are_asked_for(keyed: Page) -> None:
    face = answer(keyed, ASTRONAUT)["faces"][0]
    body = json.dumps({"seq": 0, "faces": [face] * 60})
    keyed.answer_with(f"return Promise.resolve(new Response({json.dumps(body)}))")
    keyed.put(1, ASTRONAUT)
    assert len(keyed.all("#photo-1 .marks g")) == 60
    assert len(keyed.all("#photo-1 .face")) == 24
    keyed.find("#photo-1 .found > button").click()
    assert len(keyed.all("#photo-1 .face")) == 60
    assert keyed.focused().text.startswith("Face 25\n")
    # Sixty tags would hide the picture: the one of the face in focus is there.
    assert [tag.text for tag in keyed.all("#photo-1 .tags span") if tag.is_displayed()] == ["25 · 0.91"]


def test_a_large_photo_is_sent_as_it_is(keyed: Page, tmp_path: Path) -> None:
    file = tmp_path / "phone.jpg"
    buffer = io.BytesIO()
    with Image.open(ASTRONAUT) as picture:
        picture.resize((4096, 4096)).save(buffer, "JPEG")
    file.write_bytes(buffer.getvalue())
    keyed.run(
        """
        const real = window.fetch;
        window.fetch = (url, options) => {
            if (options?.body) window.sent = options.body.get("image");
            return real(url, options);
        };
        """
    )
    keyed.put(1, file)
    assert keyed.run("return [sent.name, sent.size]") == ["phone.jpg", file.stat().st_size]
    assert_drawn(keyed, 1, answer(keyed, file)["faces"])
