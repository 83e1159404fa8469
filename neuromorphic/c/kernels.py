"""C functions that a program has as many copies of as it has number types for them, and only those that it needs.

Each takes the sources that sent something, in ascending order, and adds what they bring to the sums of the targets: of
floats in the order of :mod:`neuromorphic.execution.populations`.
"""

from __future__ import annotations

EVENTS = """
/* Places of the messages that are not 0. */
static size_t events_@M@(event_t *events, const @M@ *messages, size_t size)
{
    size_t j, count = 0;
    for (j = 0; j < size; j++) {
        events[count] = (event_t)j;
        count += messages[j] != 0;
    }
    return count;
}
"""

ONES = """
/* Places of the messages that are 1, and of those that are neither 0 nor 1. */
static size_t ones_@M@(event_t *events, const @M@ *messages, size_t size)
{
    size_t j, count = 0;
    for (j = 0; j < size; j++) {
        events[count] = (event_t)j;
        count += messages[j] == 1;
    }
    return count;
}

static size_t others_@M@(event_t *events, const @M@ *messages, size_t size)
{
    size_t j, count = 0;
    for (j = 0; j < size; j++) {
        uint64_t eight;
        if (size - j >= 8) { /* Eight at a time: there are few, as a rule. */
            memcpy(&eight, messages + j, 8);
            if ((eight & 0xfefefefefefefefeu) == 0) {
                j += 7;
                continue;
            }
        }
        events[count] = (event_t)j;
        count += (messages[j] != 0) & (messages[j] != 1);
    }
    return count;
}
"""

EVENTS_OF_BITS = """
/* Places of the spikes of an earlier step, eight in a byte. */
static size_t events_of_bits(event_t *events, const uint8_t *bits, size_t size)
{
    size_t j, count = 0;
    for (j = 0; j < size; j++) {
        if (bits[j >> 3] == 0) {
            j |= 7;
            continue;
        }
        events[count] = (event_t)j;
        count += (bits[j >> 3] >> (j & 7)) & 1;
    }
    return count;
}
"""

PACK = """
/* Spikes as bits, to be read in a later step. */
static void pack(uint8_t *bits, const uint8_t *spikes, size_t size)
{
    size_t j;
    memset(bits, 0, (size + 7) / 8);
    for (j = 0; j < size; j++)
        bits[j >> 3] |= (uint8_t)(spikes[j] << (j & 7));
}
"""

ROWS = """
/* Rows of weights, added to the sums: one for each spike. */
static void rows_@W@_@S@(@S@ *sums, const @W@ *weights, size_t width, const event_t *events, size_t count)
{
    size_t j, k = 0;
    for (; k + 4 <= count; k += 4) {
        const @W@ *a = weights + events[k] * width, *b = weights + events[k + 1] * width;
        const @W@ *c = weights + events[k + 2] * width, *d = weights + events[k + 3] * width;
        for (j = 0; j < width; j++)
            sums[j] = (((sums[j] + a[j]) + b[j]) + c[j]) + d[j];
    }
    for (; k < count; k++) {
        const @W@ *a = weights + events[k] * width;
        for (j = 0; j < width; j++)
            sums[j] += a[j];
    }
}
"""

TILE = """
/* The same for a tile of targets, whose sums stay in registers. */
static void tile_@W@_@S@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count)
{
    @S@ own[@N@];
    size_t j, k;
    memcpy(own, sums, sizeof own);
    for (k = 0; k < count; k++) {
        const @W@ *row = weights + (size_t)events[k] * @N@;
        for (j = 0; j < @N@; j++)
            own[j] += row[j];
    }
    memcpy(sums, own, sizeof own);
}
"""

VECTOR_TILE = """
/* The same for a tile of targets, whose sums stay in registers. */
static void tile_@W@_@S@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count)
{
#if defined(__AVX2__) || defined(__ARM_NEON) /* gcc and clang, which leave such loops to chance */
    typedef @W@ vector __attribute__((vector_size(@N@ * sizeof(@W@))));
    vector own, row;
    size_t k;
    memcpy(&own, sums, sizeof own);
    for (k = 0; k < count; k++) {
        memcpy(&row, weights + (size_t)events[k] * @N@, sizeof row);
        own += row;
    }
    memcpy(sums, &own, sizeof own);
#else
    size_t j, k;
    for (k = 0; k < count; k++) {
        const @W@ *row = weights + (size_t)events[k] * @N@;
        for (j = 0; j < @N@; j++)
            sums[j] += row[j];
    }
#endif
}
"""

SHORT_TILE = """
/* The same for a tile of targets, whose sums stay in registers: in 16 bits, which hold those of `most` rows. */
static void short_tile_@W@_@S@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count, size_t most)
{
    size_t start, j, k;
    for (start = 0; start < count; start += most) {
        const size_t end = count - start < most ? count : start + most;
        int16_t own[@N@] = {0};
#if defined(__AVX2__) || defined(__ARM_NEON) /* gcc and clang, which leave such loops to chance */
        typedef int16_t vector __attribute__((vector_size(@N@ * sizeof(int16_t))));
        typedef @W@ narrow __attribute__((vector_size(@N@ * sizeof(@W@))));
        vector total = {0};
        narrow row;
        for (k = start; k < end; k++) {
            memcpy(&row, weights + (size_t)events[k] * @N@, sizeof row);
            total += __builtin_convertvector(row, vector);
        }
        memcpy(own, &total, sizeof own);
#else
        for (k = start; k < end; k++) {
            const @W@ *row = weights + (size_t)events[k] * @N@;
            for (j = 0; j < @N@; j++)
                own[j] = (int16_t)(own[j] + row[j]);
        }
#endif
        for (j = 0; j < @N@; j++)
            sums[j] += own[j];
    }
}
"""

VECTOR_WEIGHTED_TILE = """
/* A tile of targets, whose sums stay in registers, with rows of weights times messages. */
static void tile_@W@_@S@_@M@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count,
                             const @M@ *messages)
{
#if defined(__AVX2__) || defined(__ARM_NEON) /* gcc and clang, which leave such loops to chance */
    typedef @W@ vector __attribute__((vector_size(@N@ * sizeof(@W@))));
    vector own, row;
    size_t k;
    memcpy(&own, sums, sizeof own);
    for (k = 0; k < count; k++) {
        memcpy(&row, weights + (size_t)events[k] * @N@, sizeof row);
        row *= (@S@)messages[events[k]];
        own += row;
    }
    memcpy(sums, &own, sizeof own);
#else
    size_t j, k;
    for (k = 0; k < count; k++) {
        const @W@ *row = weights + (size_t)events[k] * @N@;
        const @S@ message = (@S@)messages[events[k]];
        for (j = 0; j < @N@; j++)
            sums[j] += message * row[j];
    }
#endif
}
"""

WEIGHTED_TILE = """
/* A tile of targets, whose sums stay in registers, with rows of weights times messages. */
static void tile_@W@_@S@_@M@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count,
                             const @M@ *messages)
{
    @S@ own[@N@];
    size_t j, k;
    memcpy(own, sums, sizeof own);
    for (k = 0; k < count; k++) {
        const @W@ *row = weights + (size_t)events[k] * @N@;
        const @S@ message = (@S@)messages[events[k]];
        for (j = 0; j < @N@; j++)
            own[j] += message * row[j];
    }
    memcpy(sums, own, sizeof own);
}
"""

WEIGHTED_ROWS = """
/* Rows of weights times messages. */
static void rows_@W@_@S@_@M@(@S@ *sums, const @W@ *weights, size_t width, const event_t *events, size_t count,
                             const @M@ *messages)
{
    size_t j, k = 0;
    for (; k + 4 <= count; k += 4) {
        const @W@ *a = weights + events[k] * width, *b = weights + events[k + 1] * width;
        const @W@ *c = weights + events[k + 2] * width, *d = weights + events[k + 3] * width;
        const @S@ p = (@S@)messages[events[k]], q = (@S@)messages[events[k + 1]];
        const @S@ r = (@S@)messages[events[k + 2]], t = (@S@)messages[events[k + 3]];
        for (j = 0; j < width; j++)
            sums[j] = (((sums[j] + p * a[j]) + q * b[j]) + r * c[j]) + t * d[j];
    }
    for (; k < count; k++) {
        const @W@ *a = weights + events[k] * width;
        const @S@ p = (@S@)messages[events[k]];
        for (j = 0; j < width; j++)
            sums[j] += p * a[j];
    }
}
"""

SPARSE = """
/* The synapses of each source that spiked. */
static void sparse_@W@_@S@_@T@_@I@(@S@ *sums, const @W@ *weights, const @T@ *target, const @I@ *start,
                                   const event_t *events, size_t count)
{
    size_t k, n;
    for (k = 0; k < count; k++)
        for (n = start[events[k]]; n < start[events[k] + 1]; n++)
            sums[target[n]] += weights[n];
}
"""

WEIGHTED_SPARSE = """
/* The synapses of each source, times its message. */
static void sparse_@W@_@S@_@T@_@I@_@M@(@S@ *sums, const @W@ *weights, const @T@ *target, const @I@ *start,
                                       const event_t *events, size_t count, const @M@ *messages)
{
    size_t k, n;
    for (k = 0; k < count; k++) {
        const @S@ message = (@S@)messages[events[k]];
        for (n = start[events[k]]; n < start[events[k] + 1]; n++)
            sums[target[n]] += message * weights[n];
    }
}
"""

ARITHMETIC = """
/* Loihi's: x keep / 4096, rounded towards 0; |x| is at most 2^23. */
static int32_t decayed(int32_t x, int32_t keep)
{
    int32_t size = x < 0 ? -x : x;
    size = (size >> 12) * keep + (((size & 4095) * keep) >> 12);
    return x < 0 ? -size : size;
}
"""

WIDE_ARITHMETIC = """
/* Loihi's: x keep / 4096, rounded towards 0. */
static int64_t decayed_wide(int64_t x, int32_t keep)
{
    return x * keep / 4096;
}
"""

ARITHMETIC_SHIFT = """
/* Negative sums are rounded down by shifts, which all compilers known to us do; another one stops here. */
typedef char shifts_are_arithmetic[(-1 >> 1) == -1 ? 1 : -1];
"""


def short(kind: str) -> str:
    """A C type as a part of a name."""
    return kind.removesuffix("_t").lower()


def instance(text: str, types: dict[str, str]) -> str:
    """A function for some types, by the letter that stands for each in its text."""
    for letter, kind in types.items():
        text = text.replace(f"_@{letter}@", f"_{short(kind)}").replace(f"@{letter}@", kind)
    return text
