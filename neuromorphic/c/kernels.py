"""Templates of C functions. A program gets one copy of a function for each combination of number types that it needs.

A function takes the sources that sent a message, in ascending order, and adds their contributions to the sums of the
targets. Floats are added in the order of :mod:`neuromorphic.execution.populations`.
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
/* Places of the messages that are 1. */
static size_t ones_@M@(event_t *events, const @M@ *messages, size_t size)
{
    size_t j, count = 0;
    for (j = 0; j < size; j++) {
        events[count] = (event_t)j;
        count += messages[j] == 1;
    }
    return count;
}
"""

FETCH = """
/* Messages that are read soon: the rows of a run's samples lie far apart. */
static void fetch(const void *messages, size_t bytes)
{
#if defined(__GNUC__)
    size_t j;
    for (j = 0; j < bytes; j += 64)
        __builtin_prefetch((const char *)messages + j);
#else
    (void)messages;
    (void)bytes;
#endif
}
"""

OTHERS = """
/* Places of the messages that are neither 0 nor 1. */
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

PLACES = """
/* For each byte: where its bits are set, and how many are; eight 0s and 1s in memory as such a byte. */
static const uint8_t places[256][8] = {
@PLACES@
};
static const uint8_t many[256] = {
@MANY@
};
#define BITS(eight) (((eight) * 0x0102040810204080u) >> 56)
"""
"""Tables for reading eight messages at a time. They take two kilobytes, so only libraries have them."""

_EIGHT = """
/* Places of the messages that are 1@KIND@; beyond the last one up to eight others are written to. */
static size_t @NAME@_@M@(event_t *events, const @M@ *messages, size_t size@OUT@)
{
    size_t j, k, count = 0;
@BEGIN@    for (j = 0; j + 8 <= size; j += 8) {
        uint64_t eight;
        memcpy(&eight, messages + j, 8);
@OTHERS@        eight = BITS(eight);
        for (k = 0; k < 8; k++)
            events[count + k] = (event_t)(j + places[eight][k]);
        count += many[eight];
    }
    for (; j < size; j++) {
        events[count] = (event_t)j;
        count += messages[j] @IS_ONE@;
@LAST@    }
    return count;
}
"""

_OTHERS = """        if (eight & 0xfefefefefefefefeu) { /* Others are among them: there are few, as a rule. */
            for (k = j; k < j + 8; k++) {
                events[count] = (event_t)k;
                count += messages[k] == 1;
            }
            *others = 1;
            continue;
        }
"""


def _eight(**parts: str) -> str:
    """The function, with what stands in its places."""
    text = _EIGHT
    for place in ("NAME", "KIND", "OUT", "BEGIN", "OTHERS", "IS_ONE", "LAST"):
        text = text.replace(f"@{place}@", parts.get(place, ""))
    return text


EIGHT_EVENTS = _eight(NAME="events", KIND=", of spikes", IS_ONE="!= 0")
EIGHT_ONES = _eight(
    NAME="ones",
    OUT=", uint32_t *others",
    BEGIN="    *others = 0; /* Whether there are messages that are neither 0 nor 1. */\n",
    OTHERS=_OTHERS,
    IS_ONE="== 1",
    LAST="        *others |= (messages[j] != 0) & (messages[j] != 1);\n",
)

EIGHT_EVENTS_OF_BITS = """
/* Places of the spikes of an earlier step, eight in a byte; beyond the last one up to eight others are written to. */
static size_t events_of_bits(event_t *events, const uint8_t *bits, size_t size)
{
    size_t j, k, count = 0;
    for (j = 0; j < size; j += 8) {
        const uint8_t eight = bits[j >> 3];
        for (k = 0; k < 8; k++)
            events[count + k] = (event_t)(j + places[eight][k]);
        count += many[eight];
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

VECTORS = """
/* Vectors of gcc and clang, which leave such loops to chance; a function of its own has all registers to itself. */
#if defined(__AVX2__) || defined(__ARM_NEON)
#define WITH_VECTORS
#endif
#if defined(__GNUC__)
#define NOT_INLINED __attribute__((noinline))
#else
#define NOT_INLINED
#endif
"""

TILE = """
/* The same for a tile of targets, whose sums stay in registers. */
static NOT_INLINED void tile_@N@_@W@_@S@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count)
{
#ifdef WITH_VECTORS
    typedef @S@ vector __attribute__((vector_size(@L@ * sizeof(@S@))));
    typedef @W@ narrow __attribute__((vector_size(@L@ * sizeof(@W@))));
    vector total[@R@];
    narrow part;
    size_t k, q;
    memcpy(total, sums, sizeof total);
    for (k = 0; k < count; k++)
        for (q = 0; q < @R@; q++) {
            memcpy(&part, weights + (size_t)events[k] * @N@ + q * @L@, sizeof part);
            total[q] += __builtin_convertvector(part, vector);
        }
    memcpy(sums, total, sizeof total);
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
static NOT_INLINED void short_tile_@N@_@W@_@S@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count,
                                               size_t most)
{
#ifdef WITH_VECTORS
    typedef int16_t vector __attribute__((vector_size(@L@ * sizeof(int16_t))));
    typedef @W@ narrow __attribute__((vector_size(@L@ * sizeof(@W@))));
    size_t start, j, k, q;
    for (start = 0; start < count; start += most) {
        const size_t end = count - start < most ? count : start + most;
        int16_t own[@N@];
        vector total[@R@];
        narrow part;
        memset(total, 0, sizeof total);
        for (k = start; k < end; k++)
            for (q = 0; q < @R@; q++) {
                memcpy(&part, weights + (size_t)events[k] * @N@ + q * @L@, sizeof part);
                total[q] += __builtin_convertvector(part, vector);
            }
        memcpy(own, total, sizeof own);
        for (j = 0; j < @N@; j++)
            sums[j] += own[j];
    }
#else
    size_t j, k;
    (void)most;
    for (k = 0; k < count; k++) {
        const @W@ *row = weights + (size_t)events[k] * @N@;
        for (j = 0; j < @N@; j++)
            sums[j] += row[j];
    }
#endif
}
"""

WEIGHTED_TILE = """
/* A tile of targets, whose sums stay in registers, with rows of weights times messages. */
static NOT_INLINED void tile_@N@_@W@_@S@_@M@(@S@ *sums, const @W@ *weights, const event_t *events, size_t count,
                                             const @M@ *messages)
{
#ifdef WITH_VECTORS
    typedef @S@ vector __attribute__((vector_size(@L@ * sizeof(@S@))));
    typedef @W@ narrow __attribute__((vector_size(@L@ * sizeof(@W@))));
    vector total[@R@];
    narrow part;
    size_t k, q;
    if (count == 0)
        return;
    memcpy(total, sums, sizeof total);
    for (k = 0; k < count; k++) {
        const @S@ message = (@S@)messages[events[k]];
        for (q = 0; q < @R@; q++) {
            memcpy(&part, weights + (size_t)events[k] * @N@ + q * @L@, sizeof part);
            total[q] += __builtin_convertvector(part, vector) * message;
        }
    }
    memcpy(sums, total, sizeof total);
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


def tables() -> str:
    """Text of the tables in :data:`PLACES`."""
    set_in = [[k for k in range(8) if byte >> k & 1] for byte in range(256)]
    rows = [f"{{{', '.join(str(k) for k in [*own, *[0] * (8 - len(own))])}}}" for own in set_in]
    many = [str(len(own)) for own in set_in]
    lines = (
        [", ".join(rows[k : k + 4]) for k in range(0, 256, 4)],
        [", ".join(many[k : k + 32]) for k in range(0, 256, 32)],
    )
    return PLACES.replace("@PLACES@", ",\n".join(lines[0])).replace("@MANY@", ",\n".join(lines[1]))


def short(kind: str) -> str:
    """Short form of a C type, for names of functions."""
    return kind.removesuffix("_t").lower()


def instance(text: str, types: dict[str, str]) -> str:
    """A template with its number types filled in; ``types`` maps the letters of the template to C types."""
    for letter, kind in types.items():
        text = text.replace(f"_@{letter}@", f"_{short(kind)}").replace(f"@{letter}@", kind)
    return text
