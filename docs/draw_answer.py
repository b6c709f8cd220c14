"""Draws the README's picture: what /v1/file/detect answers for two photographs side by side.

    python docs/draw_answer.py http://127.0.0.1:3000 KEY

It needs what `make test` installs. Both photographs are in the public domain and come with scikit-image and matplotlib.
"""

import io
import sys
from pathlib import Path

import httpx
import matplotlib as mpl
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont

BOX, POINT = (0, 230, 118), (255, 214, 0)


def main(url: str, key: str) -> None:
    hopper = Image.open(Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg")).convert("RGB").resize((512, 512))
    photo = Image.fromarray(np.hstack([skimage.data.astronaut(), np.asarray(hopper)]))
    sent = io.BytesIO()
    photo.save(sent, "JPEG", quality=92)
    answer = httpx.post(f"{url}/v1/file/detect", headers={"x-api-key": key}, files={"image": sent.getvalue()})
    draw = ImageDraw.Draw(photo)
    font = ImageFont.load_default(20)
    for face in answer.raise_for_status().json()["faces"]:
        box = face["boundingBox"]
        corner = (box["left"], box["top"])
        draw.rectangle((*corner, box["right"], box["bottom"]), outline=BOX, width=3)
        label = f"{face['confidence']:.2f}"
        draw.text((corner[0], corner[1] - 4), label, BOX, font, "lb", stroke_width=3, stroke_fill="black")
        for point in face["landmarks"]:
            x, y = point["x"], point["y"]
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=POINT)
    photo.save(Path(__file__).with_name("images") / "answer.jpg", quality=85)


if __name__ == "__main__":
    main(*sys.argv[1:])
