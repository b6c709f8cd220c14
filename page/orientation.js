/**
 * Pictures as the service sees them: upright by their EXIF orientation.
 *
 * All browsers turn a JPEG. With a PNG or a WebP they differ from each other, and boxes would lie beside the faces: so
 * each is tried with a picture of two pixels, and what the browser leaves lying is turned here.
 */

const ORIENTATION = 0x0112; // EXIF 2.32

// From the stored picture to the upright one, of a picture w wide and h high as stored; what a canvas calls a to f.
const TRANSFORMS = {
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

const tried = new Map();

function name(bytes, at, length = 4) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

/** "png" or "webp"; undefined for what browsers turn themselves. */
function kind(bytes) {
  if (name(bytes, 1, 3) === "PNG") return "png";
  return name(bytes, 0) === "RIFF" && name(bytes, 8) === "WEBP" ? "webp" : undefined;
}

/** Where the EXIF data begin; undefined where there are none. */
function exif(bytes, view, format) {
  const png = format === "png";
  for (let at = png ? 8 : 12; at + 8 <= bytes.length; ) {
    const length = png ? view.getUint32(at) : view.getUint32(at + 4, true);
    if (name(bytes, png ? at + 4 : at) === (png ? "eXIf" : "EXIF")) {
      return name(bytes, at + 8) === "Exif" ? at + 14 : at + 8; // some writers leave the JPEG's mark before them
    }
    at += png ? length + 12 : 8 + length + (length % 2);
  }
  return undefined;
}

function stored(bytes, format) {
  const view = new DataView(bytes.buffer);
  const start = exif(bytes, view, format);
  if (start === undefined) return 1;
  const little = name(bytes, start, 2) === "II";
  const directory = start + view.getUint32(start + 4, little);
  for (let entry = 0; entry < view.getUint16(directory, little); entry += 1) {
    const at = directory + 2 + 12 * entry;
    if (view.getUint16(at, little) === ORIENTATION) return view.getUint16(at + 8, little);
  }
  return 1;
}

/** Whether the browser turns pictures of the format itself: the one that it is tried with is two pixels wide as stored. */
function turns(format) {
  if (!tried.has(format)) {
    const image = new Image();
    image.src = new URL(`turned.${format}`, import.meta.url).href;
    tried.set(format, image.decode().then(() => image.naturalWidth === 1, () => true));
  }
  return tried.get(format);
}

/** The file itself, or a picture of it that is upright. */
export async function upright(file) {
  try {
    const format = kind(new Uint8Array(await file.slice(0, 12).arrayBuffer()));
    if (!format) return file;
    const transform = TRANSFORMS[stored(new Uint8Array(await file.arrayBuffer()), format)];
    if (!transform || (await turns(format))) return file;
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    const matrix = transform(width, height);
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = matrix[0] ? [width, height] : [height, width];
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // below what is transparent, as in the service
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.setTransform(...matrix);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return await new Promise((done) => {
      canvas.toBlob((blob) => done(blob ?? file), "image/jpeg", 0.95);
    });
  } catch {
    return file; // broken, or too large for this browser: the service says what is wrong with it
  }
}
