/** Aligned crops, as an embedder sees a face: its five landmarks moved to where ArcFace's template has them. */

export const SIDE = 112;

// Left eye, right eye, nose tip, left and right mouth corner, as seen in the picture; x, y in pixels of the crop.
const TEMPLATE = [
  [38.2946, 51.6963],
  [73.5318, 51.5014],
  [56.0252, 71.7366],
  [41.5493, 92.3655],
  [70.7299, 92.2041],
];

/**
 * The rotation, scale and shift that take the landmarks nearest to the template, in the sense of least squares:
 * crop = a picture + b, with complex a and b. Undefined where the landmarks coincide.
 */
export function similarity(landmarks) {
  const count = landmarks.length;
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / count;
  const [fromX, fromY] = [mean(landmarks.map(({ x }) => x)), mean(landmarks.map(({ y }) => y))];
  const [toX, toY] = [mean(TEMPLATE.map(([x]) => x)), mean(TEMPLATE.map(([, y]) => y))];
  let [real, imaginary, spread] = [0, 0, 0];
  landmarks.forEach(({ x, y }, index) => {
    const [dx, dy] = [x - fromX, y - fromY];
    const [tx, ty] = [TEMPLATE[index][0] - toX, TEMPLATE[index][1] - toY];
    real += dx * tx + dy * ty;
    imaginary += dx * ty - dy * tx;
    spread += dx * dx + dy * dy;
  });
  if (spread === 0) return undefined;
  const a = { x: real / spread, y: imaginary / spread };
  return { a, b: { x: toX - a.x * fromX + a.y * fromY, y: toY - a.y * fromX - a.x * fromY } };
}

/** Draw the face's crop, sharp on a display with that many pixels for each of CSS. */
export function draw(canvas, image, face, density = Math.min(2, Math.ceil(devicePixelRatio))) {
  canvas.width = canvas.height = SIDE * density;
  const found = similarity(face.landmarks);
  if (!found) return;
  const { a, b } = found;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.scale(density, density);
  // Landmarks are of pixels, whose centres a canvas has half a pixel further to the right and below.
  context.translate(0.5, 0.5);
  context.transform(a.x, a.y, -a.y, a.x, b.x, b.y);
  context.translate(-0.5, -0.5);
  context.drawImage(image, 0, 0);
}
