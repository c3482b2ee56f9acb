/* What training does between its matrix products, one pass over memory each.
 *
 * Tensors are contiguous bfloat16 unless named otherwise; sums are kept in float. Compiled by
 * kernels.py with -O3 -march=native -ffast-math, which turns every inner loop into vector code.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float f(bf16 h) {
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline bf16 b(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* x [n, w] += scale[row] * added (added may be NULL; scale NULL means 1, else one per `per` rows);
 * y = x / rms(x) * gain; rstd [n] float. */
void add_norm(long n, long w, bf16 *restrict x, const bf16 *restrict added,
              const bf16 *restrict scale, long per, const bf16 *restrict gain, float eps,
              bf16 *restrict y, float *restrict rstd) {
    for (long i = 0; i < n; i++) {
        bf16 *row = x + i * w;
        float sum = 0;
        if (added) {
            const bf16 *more = added + i * w;
            float s = scale ? f(scale[i / per]) : 1.0f;
            for (long j = 0; j < w; j++) row[j] = b(f(row[j]) + s * f(more[j]));
        }
        for (long j = 0; j < w; j++) sum += f(row[j]) * f(row[j]);
        float r = 1.0f / sqrtf(sum / w + eps);
        rstd[i] = r;
        for (long j = 0; j < w; j++) y[i * w + j] = b(f(row[j]) * r * f(gain[j]));
    }
}

/* gx [n, w] += gradient of the norm; ggain [w] float += its gradient. */
void norm_backward(long n, long w, const bf16 *restrict x, const bf16 *restrict gain,
                   const float *restrict rstd, const bf16 *restrict gy, bf16 *restrict gx,
                   float *restrict ggain) {
    for (long i = 0; i < n; i++) {
        const bf16 *row = x + i * w, *g = gy + i * w;
        float dot = 0, r = rstd[i];
        for (long j = 0; j < w; j++) dot += f(g[j]) * f(gain[j]) * f(row[j]);
        float c = dot * r * r * r / w;
        for (long j = 0; j < w; j++) {
            ggain[j] += f(g[j]) * f(row[j]) * r;
            gx[i * w + j] = b(f(gx[i * w + j]) + f(g[j]) * f(gain[j]) * r - c * f(row[j]));
        }
    }
}

/* in [n, 2h] holds gate and up; out [n, h] = silu(gate) * up. */
void swiglu(long n, long h, const bf16 *restrict in, bf16 *restrict out) {
    for (long i = 0; i < n; i++) {
        const bf16 *gate = in + i * 2 * h, *up = gate + h;
        for (long j = 0; j < h; j++) {
            float g = f(gate[j]);
            out[i * h + j] = b(g / (1.0f + expf(-g)) * f(up[j]));
        }
    }
}

void swiglu_backward(long n, long h, const bf16 *restrict in, const bf16 *restrict gout,
                     bf16 *restrict gin) {
    for (long i = 0; i < n; i++) {
        const bf16 *gate = in + i * 2 * h, *up = gate + h, *go = gout + i * h;
        bf16 *ggate = gin + i * 2 * h, *gup = ggate + h;
        for (long j = 0; j < h; j++) {
            float g = f(gate[j]), o = f(go[j]), s = 1.0f / (1.0f + expf(-g));
            gup[j] = b(o * g * s);
            ggate[j] = b(o * f(up[j]) * s * (1.0f + g * (1.0f - s)));
        }
    }
}

/* qkv [batch, t, 3, heads, d] -> q, k, v [batch, heads, t, d]; q and k turned by cos, sin
 * [t, d/2] float, q scaled. */
void split_rope(long batch, long t, long heads, long d, const bf16 *restrict qkv,
                const float *restrict cos, const float *restrict sin, float scale,
                bf16 *restrict q, bf16 *restrict k, bf16 *restrict v) {
    long half = d / 2;
    for (long i = 0; i < batch; i++)
        for (long p = 0; p < t; p++)
            for (long a = 0; a < heads; a++) {
                const bf16 *from = qkv + ((i * t + p) * 3 * heads + a) * d;
                long to = ((i * heads + a) * t + p) * d;
                const float *c = cos + p * half, *s = sin + p * half;
                const bf16 *fk = from + heads * d, *fv = from + 2 * heads * d;
                for (long j = 0; j < half; j++) {
                    float x = f(from[j]), y = f(from[half + j]);
                    q[to + j] = b((x * c[j] - y * s[j]) * scale);
                    q[to + half + j] = b((y * c[j] + x * s[j]) * scale);
                    x = f(fk[j]), y = f(fk[half + j]);
                    k[to + j] = b(x * c[j] - y * s[j]);
                    k[to + half + j] = b(y * c[j] + x * s[j]);
                }
                memcpy(v + to, fv, d * sizeof(bf16));
            }
}

void split_rope_backward(long batch, long t, long heads, long d, const bf16 *restrict gq,
                         const bf16 *restrict gk, const bf16 *restrict gv,
                         const float *restrict cos, const float *restrict sin, float scale,
                         bf16 *restrict gqkv) {
    long half = d / 2;
    for (long i = 0; i < batch; i++)
        for (long p = 0; p < t; p++)
            for (long a = 0; a < heads; a++) {
                bf16 *to = gqkv + ((i * t + p) * 3 * heads + a) * d;
                long from = ((i * heads + a) * t + p) * d;
                const float *c = cos + p * half, *s = sin + p * half;
                bf16 *tk = to + heads * d, *tv = to + 2 * heads * d;
                for (long j = 0; j < half; j++) {
                    float x = f(gq[from + j]), y = f(gq[from + half + j]);
                    to[j] = b((x * c[j] + y * s[j]) * scale);
                    to[half + j] = b((y * c[j] - x * s[j]) * scale);
                    x = f(gk[from + j]), y = f(gk[from + half + j]);
                    tk[j] = b(x * c[j] + y * s[j]);
                    tk[half + j] = b(y * c[j] - x * s[j]);
                }
                memcpy(tv, gv + from, d * sizeof(bf16));
            }
}

/* scores [batch, heads, t, t] become causal probabilities in place. mentions [batch, t] int32 or
 * NULL: a token whose number is not 0 is seen by tokens of the same number alone, and one whose
 * number is below 0 sees nothing else. */
void causal_softmax(long batch, long heads, long t, bf16 *restrict scores,
                    const int32_t *restrict mentions) {
    float row[4096];
    for (long i = 0; i < batch * heads; i++) {
        const int32_t *m = mentions ? mentions + i / heads * t : 0;
        for (long p = 0; p < t; p++) {
            bf16 *s = scores + (i * t + p) * t;
            float top = -1e30f, sum = 0;
            for (long j = 0; j <= p; j++) row[j] = f(s[j]);
            if (m)
                for (long j = 0; j <= p; j++)
                    if (m[j] != m[p] && (m[j] || m[p] < 0)) row[j] = -1e30f;
            for (long j = 0; j <= p; j++) top = row[j] > top ? row[j] : top;
            for (long j = 0; j <= p; j++) row[j] = expf(row[j] - top), sum += row[j];
            float r = 1.0f / sum;
            for (long j = 0; j <= p; j++) s[j] = b(row[j] * r);
            for (long j = p + 1; j < t; j++) s[j] = 0;
        }
    }
}

/* gp [n, t] becomes the gradient of the scores in place. */
void softmax_backward(long n, long t, const bf16 *restrict p, bf16 *restrict gp) {
    for (long i = 0; i < n; i++) {
        const bf16 *a = p + i * t;
        bf16 *g = gp + i * t;
        float dot = 0;
        for (long j = 0; j < t; j++) dot += f(a[j]) * f(g[j]);
        for (long j = 0; j < t; j++) g[j] = b(f(a[j]) * (f(g[j]) - dot));
    }
}

/* logits [n, v] become, in place, the gradient of weight[i] * cross-entropy(row i, target[i]);
 * losses [n] float are the cross-entropies. */
void softmax_loss(long n, long v, bf16 *restrict logits, const int64_t *restrict target,
                  const float *restrict weight, float *restrict losses) {
    float row[65536];
    for (long i = 0; i < n; i++) {
        bf16 *x = logits + i * v;
        float top = -1e30f, sum = 0, w = weight[i], at = f(x[target[i]]);
        for (long j = 0; j < v; j++) row[j] = f(x[j]);
        for (long j = 0; j < v; j++) top = row[j] > top ? row[j] : top;
        for (long j = 0; j < v; j++) row[j] = expf(row[j] - top), sum += row[j];
        losses[i] = logf(sum) + top - at;
        float r = w / sum;
        for (long j = 0; j < v; j++) x[j] = b(row[j] * r);
        x[target[i]] = b(row[target[i]] * r - w);
    }
}
