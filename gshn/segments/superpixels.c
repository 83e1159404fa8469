/* The loops of superpixels.py over edges and pixels; that file has the method. Sums are in NumPy's order. */
#include <math.h>
#include <stdint.h>

static int32_t root_of(int32_t *parent, int32_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

/* superpixels._oversegmented. image has shape (height, width, 3). Edges lead to the pixel above, left, above left and above
 * right, and are named 4 times the later pixel plus the number of this direction. They are sorted by the square of their
 * cost, an integer, by counting. ends: room for 3 * 255^2 + 2 numbers. order: for a number an edge. parent, area, inside:
 * for a number a pixel. labels: 0, 1, ... by the first pixel of each tree. */
void oversegment(const uint8_t *restrict image, int64_t height, int64_t width, double scale, int32_t *restrict ends,
                 int32_t *restrict order, int32_t *restrict parent, int32_t *restrict area, double *restrict inside,
                 int64_t *restrict labels) {
    const int64_t dy[4] = {1, 0, 1, 1}, dx[4] = {0, 1, 1, -1};
    const int32_t largest = 3 * 255 * 255;
    int64_t back[4];
    for (int k = 0; k < 4; k++) back[k] = dy[k] * width + dx[k];
    for (int32_t square = 0; square <= largest + 1; square++) ends[square] = 0;
    for (int pass = 0; pass < 2; pass++) { /* count, then put in place */
        for (int k = 0; k < 4; k++) {
            int64_t first = dx[k] > 0 ? dx[k] : 0, last = dx[k] < 0 ? width + dx[k] : width;
            for (int64_t y = dy[k]; y < height; y++)
                for (int64_t x = first; x < last; x++) {
                    const uint8_t *a = image + (y * width + x) * 3, *b = a - back[k] * 3;
                    int32_t red = a[0] - b[0], green = a[1] - b[1], blue = a[2] - b[2];
                    int32_t square = red * red + green * green + blue * blue;
                    if (pass)
                        order[ends[square]++] = (int32_t)(4 * (y * width + x) + k);
                    else
                        ends[square + 1]++;
                }
        }
        if (!pass) /* now the number of edges that cost less; after the second pass, of those that cost no more */
            for (int32_t square = 0; square <= largest; square++) ends[square + 1] += ends[square];
    }
    for (int64_t i = 0; i < height * width; i++) {
        parent[i] = (int32_t)i;
        area[i] = 1;
        inside[i] = 0;
    }
    int32_t e = 0;
    for (int32_t square = 0; square <= largest; square++) {
        double cost = sqrt((double)square);
        for (; e < ends[square]; e++) {
            int32_t pixel = order[e] >> 2, a = root_of(parent, pixel);
            int32_t b = root_of(parent, pixel - (int32_t)back[order[e] & 3]);
            if (a != b && cost < inside[a] + scale / area[a] && cost < inside[b] + scale / area[b]) {
                int32_t root = a < b ? a : b, other = a < b ? b : a;
                parent[other] = root;
                area[root] += area[other];
                inside[root] = cost;
            }
        }
    }
    int64_t next = 0;
    for (int64_t i = 0; i < height * width; i++) {
        int32_t root = root_of(parent, (int32_t)i); /* the first pixel of the tree */
        labels[i] = root == i ? next++ : labels[root];
    }
}

/* superpixels._grow: pixels without a label get that of the neighbour of nearest mean colour, a layer after the other.
 * labels are padded by a pixel, and have so many columns; colours are not. todo: n pixels, as labels has them; chosen:
 * room for n numbers. */
void grow(int64_t *restrict labels, const double *restrict colours, const double *restrict means, int64_t columns,
          int64_t *restrict todo, int64_t n, int64_t *restrict chosen) {
    const int64_t beside[4] = {-columns, columns, -1, 1};
    for (;;) {
        int64_t reached = 0;
        for (int64_t i = 0; i < n; i++) {
            double best = INFINITY;
            int64_t at = (todo[i] / columns - 1) * (columns - 2) + todo[i] % columns - 1;
            chosen[i] = 0;
            for (int k = 0; k < 4; k++) {
                int64_t label = labels[todo[i] + beside[k]];
                if (label == 0) continue;
                const double *own = colours + 3 * at, *mean = means + 3 * label;
                double r = own[0] - mean[0], g = own[1] - mean[1], b = own[2] - mean[2];
                double distance = r * r + g * g + b * b;
                if (distance < best) {
                    best = distance;
                    chosen[i] = label;
                }
            }
            reached += chosen[i] > 0;
        }
        if (!reached) return;
        int64_t left = 0;
        for (int64_t i = 0; i < n; i++) {
            if (chosen[i])
                labels[todo[i]] = chosen[i];
            else
                todo[left++] = todo[i];
        }
        n = left;
    }
}
