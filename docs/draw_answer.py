"""Draws the README's picture: what `facebento detect --draw` makes of two photographs side by side.

    python docs/draw_answer.py

It needs what `make test` installs. Both photographs are in the public domain and come with scikit-image and matplotlib.
"""

import io
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import skimage.data
from PIL import Image


def main() -> None:
    hopper = Image.open(Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg")).convert("RGB").resize((512, 512))
    photo = io.BytesIO()
    Image.fromarray(np.hstack([skimage.data.astronaut(), np.asarray(hopper)])).save(photo, "JPEG", quality=92)
    facebento = Path(sys.executable).with_name("facebento")
    target = Path(__file__).with_name("images") / "answer.jpg"
    subprocess.run([facebento, "detect", "-", "--draw", target], input=photo.getvalue(), check=True)  # noqa: S603


if __name__ == "__main__":
    main()
