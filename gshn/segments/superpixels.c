/* The loops of superpixels.py over edges and pixels; that file has the method. Sums are in NumPy's order. */
#include <math.h>
#include <stdint.h>

/* Colour distances of neighbouring pixels, in the order of scikit-image's felzenszwalb: with the pixel above, left, above
 * left, and above right. image has shape (height, width, 3). pixels: of each edge, the later one. */
void edge_costs(const double *restrict image, int64_t height, int64_t width, double *restrict costs,
                int32_t *restrict pixels) {
    const int64_t dy[4] = {1, 0, 1, 1}, dx[4] = {0, 1, 1, -1};
    for (int k = 0; k < 4; k++) {
        int64_t first = dx[k] > 0 ? dx[k] : 0, last = dx[k] < 0 ? width + dx[k] : width;
        for (int64_t y = dy[k]; y < height; y++)
            for (int64_t x = first; x < last; x++) {
                const double *a = image + (y * width + x) * 3, *b = a - (dy[k] * width + dx[k]) * 3;
                double r = a[0] - b[0], g = a[1] - b[1], c = a[2] - b[2];
                *costs++ = sqrt(r * r + g * g + c * c);
                *pixels++ = (int32_t)(y * width + x);
            }
    }
}

static int32_t root_of(int32_t *parent, int32_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

/* Kruskal's loop: two trees join where an edge costs less than both allow, which is their largest edge so far and
 * scale / area, in single precision as in scikit-image. order: edges by cost. parent, area, inside: room for a number a pixel. labels: 0, 1, ... by the first
 * pixel of each tree. */
void join_edges(const double *restrict costs, const int32_t *restrict pixels, const int64_t *restrict order,
                int64_t edges, int64_t height, int64_t width, double scale, int32_t *restrict parent,
                int32_t *restrict area, double *restrict inside, int64_t *restrict labels) {
    const int64_t above = (height - 1) * width, left = above + height * (width - 1),
                  above_left = left + (height - 1) * (width - 1);
    for (int64_t i = 0; i < height * width; i++) {
        parent[i] = (int32_t)i;
        area[i] = 1;
        inside[i] = 0;
    }
    for (int64_t e = 0; e < edges; e++) {
        int64_t edge = order[e];
        int64_t back = edge < above ? width : edge < left ? 1 : edge < above_left ? width + 1 : width - 1;
        int32_t a = root_of(parent, pixels[edge]), b = root_of(parent, pixels[edge] - (int32_t)back);
        if (a == b) continue;
        float of_a = (float)(inside[a] + scale / area[a]), of_b = (float)(inside[b] + scale / area[b]);
        if (costs[edge] < (of_a < of_b ? of_a : of_b)) {
            int32_t root = a < b ? a : b, other = a < b ? b : a;
            parent[other] = root;
            area[root] += area[other];
            inside[root] = costs[edge];
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
