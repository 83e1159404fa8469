/* All steps of LIF neurons, forward and backward; gshn/neurons/native.py compiles it, multistep.py has the equations.
 *
 * Neurons are taken in blocks whose potentials of all steps fit in the cache: every step's inputs are then read as long
 * runs, and each number of the tensors passes the memory bus once. The order of operations is that of
 * gshn.neurons.lif.lif_step, and is compiled without contraction: spikes are equal to the last bit.
 */
#include <math.h>
#include <stdint.h>

#define BLOCK 4096
#define MAX_STEPS 32 /* longer sequences are left to PyTorch: a block's potentials are on a thread's stack */

enum { ATAN, FAST_SIGMOID, SIGMOID };

#define KERNELS(REAL, NAME, ABS, EXP)                                                                               \
    static inline REAL NAME##_derivative(REAL u, int surrogate, REAL k) {                                          \
        if (surrogate == ATAN) {                                                                                   \
            REAL z = (REAL)(M_PI / 2) * k * u;                                                                     \
            return k / 2 / (1 + z * z);                                                                            \
        }                                                                                                          \
        if (surrogate == FAST_SIGMOID) {                                                                           \
            REAL z = k * ABS(u) + 1;                                                                               \
            return 1 / (z * z);                                                                                    \
        }                                                                                                          \
        REAL e = EXP(-k * ABS(u)); /* even, and this cannot overflow */                                            \
        return k * e / ((e + 1) * (e + 1));                                                                        \
    }                                                                                                              \
                                                                                                                   \
    /* s[t, i] for inputs x[t, i] of m neurons; rows of x are x_stride numbers apart. */                             \
    void NAME##_forward(const REAL *restrict x, int64_t x_stride, REAL *restrict s, int64_t m, int64_t steps,      \
                        int threads, REAL a, REAL r, REAL leak, REAL threshold, REAL reset) {      \
        _Pragma("omp parallel for schedule(static) num_threads(threads) if(threads > 1)")                          \
        for (int64_t start = 0; start < m; start += BLOCK) {                                                       \
            REAL v[BLOCK];                                                                                         \
            int64_t n = m - start < BLOCK ? m - start : BLOCK;                                                     \
            for (int64_t i = 0; i < n; i++) v[i] = 0;                                                              \
            for (int64_t t = 0; t < steps; t++) {                                                                  \
                const REAL *in = x + t * x_stride + start;                                                         \
                REAL *out = s + t * m + start;                                                                     \
                for (int64_t i = 0; i < n; i++) {                                                                  \
                    REAL w = v[i] + a * (leak - v[i] + r * in[i]);                                                 \
                    out[i] = w > threshold ? 1 : 0;                                                                \
                    v[i] = w > threshold ? reset : w;                                                              \
                }                                                                                                  \
            }                                                                                                      \
        }                                                                                                          \
    }                                                                                                              \
                                                                                                                   \
    static inline __attribute__((always_inline)) void NAME##_back(                                                 \
        const REAL *restrict x, int64_t x_stride, const REAL *restrict g, REAL *restrict out, int64_t m,           \
        int64_t steps, int threads, REAL a, REAL r, REAL leak, REAL threshold, REAL reset,         \
        int surrogate, REAL k) {                                                                                   \
        REAL gain = a * r, keep = 1 - a;                                                                           \
        _Pragma("omp parallel for schedule(static) num_threads(threads) if(threads > 1)")                          \
        for (int64_t start = 0; start < m; start += BLOCK) {                                                       \
            REAL w[MAX_STEPS][BLOCK], v[BLOCK], after[BLOCK];                                                      \
            int64_t n = m - start < BLOCK ? m - start : BLOCK;                                                     \
            for (int64_t i = 0; i < n; i++) v[i] = after[i] = 0;                                                   \
            for (int64_t t = 0; t < steps; t++) {                                                                  \
                const REAL *in = x + t * x_stride + start;                                                         \
                for (int64_t i = 0; i < n; i++) {                                                                  \
                    REAL now = v[i] + a * (leak - v[i] + r * in[i]);                                               \
                    w[t][i] = now;                                                                                 \
                    v[i] = now > threshold ? reset : now;                                                          \
                }                                                                                                  \
            }                                                                                                      \
            for (int64_t t = steps - 1; t >= 0; t--) {                                                             \
                const REAL *of = g + t * m + start;                                                                \
                REAL *to = out + t * m + start;                                                                    \
                for (int64_t i = 0; i < n; i++) {                                                                  \
                    REAL u = w[t][i] - threshold;                                                                  \
                    REAL own = of[i] * NAME##_derivative(u, surrogate, k) + (w[t][i] > threshold ? 0 : after[i]);  \
                    to[i] = gain * own;                                                                            \
                    after[i] = keep * own;                                                                         \
                }                                                                                                  \
            }                                                                                                      \
        }                                                                                                          \
    }                                                                                                              \
                                                                                                                   \
    /* The input's gradient, from that of the spikes, g[t, i]; one loop for each surrogate. */                     \
    void NAME##_backward(const REAL *x, int64_t x_stride, const REAL *g, REAL *out, int64_t m, int64_t steps,      \
                         int threads, REAL a, REAL r, REAL leak, REAL threshold, REAL reset,       \
                         int surrogate, REAL k) {                                                                  \
        if (surrogate == ATAN)                                                                                     \
            NAME##_back(x, x_stride, g, out, m, steps, threads, a, r, leak, threshold, reset, ATAN, k);        \
        else if (surrogate == FAST_SIGMOID)                                                                        \
            NAME##_back(x, x_stride, g, out, m, steps, threads, a, r, leak, threshold, reset, FAST_SIGMOID, k); \
        else                                                                                                       \
            NAME##_back(x, x_stride, g, out, m, steps, threads, a, r, leak, threshold, reset, SIGMOID, k);     \
    }

KERNELS(float, f32, fabsf, expf)
KERNELS(double, f64, fabs, exp)
