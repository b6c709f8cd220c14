"""Makes the photographs that the docs' examples send: two people side by side, a cat, and a face that is aligned.

    python docs/pictures.py http://127.0.0.1:3000 KEY

It needs what `make test` installs. The photographs are in the public domain or CC0, and come with scikit-image and
matplotlib.
"""

import sys
from pathlib import Path

import cv2
import httpx
import matplotlib as mpl
import numpy as np
import skimage.data
from PIL import Image

from faces.alignment import similarity
from faces.templates import ARCFACE_SIZE, ARCFACE_TEMPLATE

IMAGES = Path(__file__).with_name("images")


def main(url: str, key: str) -> None:
    hopper = Image.open(Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg")).convert("RGB").resize((512, 512))
    astronaut = skimage.data.astronaut()
    Image.fromarray(np.hstack([astronaut, np.asarray(hopper)])).save(IMAGES / "two-people.jpg", quality=85)
    Image.fromarray(skimage.data.chelsea()).save(IMAGES / "cat.jpg", quality=85)
    with (IMAGES / "astronaut.jpg").open("rb") as photo:
        answer = httpx.post(f"{url}/v1/file/detect", headers={"x-api-key": key}, files={"image": photo})
    [face] = answer.raise_for_status().json()["faces"]
    points = np.array([[point["x"], point["y"]] for point in face["landmarks"]], np.float32)
    crop = cv2.warpAffine(astronaut, similarity(points, ARCFACE_TEMPLATE), (ARCFACE_SIZE, ARCFACE_SIZE))
    Image.fromarray(crop).save(IMAGES / "aligned.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
