"""CenterFace's decoding: one map of heights, and a face at each of its peaks."""

from models.errors import GraphMismatchError
from models.tail import Tail


def centerface(size: int, candidates: int) -> Tail:
    """CenterFace's four heads at stride 4 -> candidates float32 [n, K, 15] in pixels of the size x size canvas.

    A row: box x1, y1, x2, y2, score, then x, y of left eye, right eye, nose, left and right mouth corner. K is
    `candidates`, or the number of cells where that is less. Rows by falling score. Only the highest cell of its 3x3
    neighbourhood keeps its score, any other has 0: a face lights up several cells, and one of them is enough.

    The heads hold pairs as (y, x). For the cell (y, x): height and width 4 exp(size), centre (cell + offset + 0.5) 4,
    points the box's corner plus its sides times `points`. After Xu et al., CenterFace, 2019, and its reference code.
    """
    if size % 32:
        raise GraphMismatchError(f"expected a canvas of a multiple of 32 pixels for CenterFace, found {size}")
    side = size // 4
    cells = side * side
    kept = min(candidates, cells)
    return Tail(
        heads={"heat": (1, side, side), "size": (2, side, side), "offset": (2, side, side), "points": (10, side, side)},
        output="candidates",
        text=f"""
        centerface (float[n, 1, {side}, {side}] heat, float[n, 2, {side}, {side}] size,
                    float[n, 2, {side}, {side}] offset, float[n, 10, {side}, {side}] points)
            => (float[n, {kept}, 15] candidates)
        <
            float zero = {{0}}, float half = {{0.5}}, float stride = {{4}}, int64 columns = {{{side}}},
            int64[1] kept = {{{kept}}}, int64[1] first = {{1}}, int64[1] last = {{2}},
            int64[2] flat = {{-1, {cells}}}, int64[3] flat_heads = {{-1, 14, {cells}}},
            int64[3] every_head = {{1, 14, 1}}, int64[3] head_sizes = {{2, 2, 10}},
            int64[4] pairs = {{-1, 5, 2, {kept}}}, int64[2] swap = {{1, 0}},
            int64[3] rows = {{-1, 14, {kept}}}, int64[2] row_sizes = {{4, 10}}
        >
        {{
            highest = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (heat)
            is_peak = Equal (heat, highest)
            peaks = Where (is_peak, heat, zero)
            scores = Reshape (peaks, flat)
            score, cell = TopK <axis = 1> (scores, kept)

            heads = Concat <axis = 1> (size, offset, points)
            head_rows = Reshape (heads, flat_heads)
            cell_row = Unsqueeze (cell, first)
            index = Expand (cell_row, every_head)
            raw = GatherElements <axis = 2> (head_rows, index)
            raw_size, raw_offset, raw_points = Split <axis = 1> (raw, head_sizes)

            y = Div (cell_row, columns)
            x = Mod (cell_row, columns)
            cell_yx = Concat <axis = 1> (y, x)
            corner_of_cell = Cast <to = 1> (cell_yx)
            moved = Add (corner_of_cell, raw_offset)
            middle = Add (moved, half)
            centre = Mul (middle, stride)
            growth = Exp (raw_size)
            sides = Mul (growth, stride)
            reach = Mul (sides, half)
            near = Sub (centre, reach)
            far = Add (near, sides)

            near_pair = Unsqueeze (near, first)
            far_pair = Unsqueeze (far, first)
            sides_pair = Unsqueeze (sides, first)
            point_pairs = Reshape (raw_points, pairs)
            from_near = Mul (point_pairs, sides_pair)
            point_places = Add (from_near, near_pair)

            yx = Concat <axis = 1> (near_pair, far_pair, point_places)
            xy = Gather <axis = 2> (yx, swap)
            columns_of_rows = Reshape (xy, rows)
            places = Transpose <perm = [0, 2, 1]> (columns_of_rows)
            box, landmarks = Split <axis = 2> (places, row_sizes)
            score_column = Unsqueeze (score, last)
            candidates = Concat <axis = 2> (box, score_column, landmarks)
        }}
        """,
    )
