// Networks of dense and locally connected layers on CPUs: every layer is a list of sums of weights times numbers.
//
// The numbers of 64 events are one block of rows, (rows, 64 words), and stay in the cache from the first layer to the
// last. A word is a number in single precision, or two neighbouring ones of the same event in half precision (bfloat16),
// whose products are summed in single precision. So both precisions run the same loops. Which rows a sum takes, and with
// which weights, is said by tables (`Step`, `Run`) that `hepgan.models.network` makes once. Weights are in the order in
// which they are read. Every sum has a fixed order, whatever the number of threads.

#include "vectors.hpp"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr long events = 64;                // of a block
constexpr int together = across * lanes;  // events whose sums are in registers at once
constexpr int tile = 16;                   // rows and events that are transposed at once

typedef float wide __attribute__((vector_size(4 * tile)));
typedef unsigned word __attribute__((vector_size(4 * lanes)));

// -- precisions: the numbers of a word, and the product of two words

struct Single {
    static constexpr int per = 1;
    template <typename V> static V product(float w, V x, V sum) { return sum + w * x; }
    static void split(vector x, vector *numbers) { numbers[0] = x; }
    static vector join(const vector *numbers) { return numbers[0]; }
};

#ifdef __AVX512BF16__
struct Half {
    static constexpr int per = 2;
    static vector product(float w, vector x, vector sum) {
        return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(w), (__m512bh)x);
    }
    static void split(vector x, vector *numbers) {
        numbers[0] = (vector)((word)x << 16);
        numbers[1] = (vector)((word)x & 0xffff0000u);
    }
    static vector join(const vector *numbers) {
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)numbers[0]));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)numbers[1]));
        return (vector)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
    }
};
#endif

// -- tables

// Rows whose words are read one after the other.
struct Run {
    int first, count;
};

// What is computed of a block; which rows are what depends on the kind.
struct Step {
    int kind, to, numbers, run, runs, weight, bias, plain;
    float slope;
};

enum Kind { linear, sigmoid, average, product, product_slope };

// Sums over events of products: so many vectors, whose first numbers are x[..], times the numbers g..g+numbers.
struct Outer {
    int g, numbers, vectors, to, x[4];
};

// Where the two numbers of the words of a row come from: part and feature; part -1: zero.
struct Filled {
    int row, part[2], feature[2];
};

struct Program {
    const Step *steps;
    long n;
    const Run *runs;
    const float *words, *biases, *factors;
};

// A pass over a batch: arrays of blocks of rows.
struct Pass {
    long rows, batch;
    float *array;
    const float *other;  // rows of another pass, whose signs decide; in a gradient, those of its pass
    float *plain;        // (numbers, batch) of results in single precision
};

// -- tasks of a block

// Write a vector of results of the events e.. of a block to a row of an array (n, batch) that ends somewhere.
inline void results(float *row, long batch, long e, vector value) {
    if (e + lanes <= batch) return store(row + e, value);
    float numbers[lanes];
    store(numbers, value);
    for (int k = 0; k < lanes && e + k < batch; k++) row[e + k] = numbers[k];
}

template <typename M, int D>
inline void sums(const Program &p, const Pass &at, const Step &t, long block) {
    constexpr int per = M::per, rows = (D + per - 1) / per;
    float *base = at.array + block * at.rows * events;
    const float *other = at.other ? at.other + block * at.rows * events : nullptr;
    for (long e = 0; e < events; e += together) {
        vector sum[rows * per][across];
        for (int d = 0; d < rows * per; d++)
            for (int n = 0; n < across; n++) sum[d][n] = vector{};
        if (t.bias >= 0 && p.biases)
            for (int d = 0; d < D; d++)
                for (int n = 0; n < across; n++) sum[d][n] += p.biases[t.bias + d];
        const float *w = p.words + t.weight;
        for (const Run *r = p.runs + t.run; r < p.runs + t.run + t.runs; r++) {
            const float *x = base + r->first * events + e;
            for (int k = 0; k < r->count; k++, x += events, w += D) {
                vector values[across];
                for (int n = 0; n < across; n++) values[n] = load<vector>(x + n * lanes);
                for (int d = 0; d < D; d++)
                    for (int n = 0; n < across; n++) sum[d][n] = M::product(w[d], values[n], sum[d][n]);
            }
        }
        for (int n = 0; n < across; n++)
            for (int k = 0; k < rows; k++) {
                const long place = (t.to + k) * events + e + n * lanes;
                vector side[per], value[per];
                for (int m = 0; m < per; m++) value[m] = side[m] = sum[k * per + m][n];
                if (t.kind == sigmoid)
                    for (int m = 0; m < per; m++) value[m] = 1.0f / (1.0f + exponential(-value[m]));
                else if (t.slope != 1) {
                    if (other) M::split(load<vector>(other + place), side);
                    for (int m = 0; m < per; m++) value[m] = side[m] > 0 ? value[m] : t.slope * value[m];
                }
                if (t.plain < 0) {
                    store(base + place, M::join(value));
                    continue;
                }
                for (int m = 0; m < per && k * per + m < D; m++)
                    results(at.plain + (t.plain + k * per + m) * at.batch, at.batch, block * events + e + n * lanes,
                            value[m]);
            }
    }
}

template <typename M, typename F> inline void words(const Pass &at, const Step &t, long block, F function) {
    float *base = at.array + block * at.rows * events;
    const float *other = at.other ? at.other + block * at.rows * events : nullptr;
    for (long row = 0; row < t.numbers; row++)
        for (long e = row * events; e < (row + 1) * events; e += lanes) function(base + e, other + e);
}

template <typename M> inline void step(const Program &p, const Pass &at, const Step &t, long block) {
    constexpr int per = M::per;
    const auto split = [](const float *from, vector *to) { M::split(load<vector>(from), to); };
    const long to = t.to * events;
    switch (t.kind) {
    case linear:
    case sigmoid:
        switch (t.numbers) {
        case 1: return sums<M, 1>(p, at, t, block);
        case 2: return sums<M, 2>(p, at, t, block);
        case 3: return sums<M, 3>(p, at, t, block);
        case 4: return sums<M, 4>(p, at, t, block);
        default: return sums<M, 6>(p, at, t, block);
        }
    case average:  // of the runs' rows, times factors
        return words<M>(at, t, block, [&](float *x, const float *) {
            vector total[per], value[per];
            for (int m = 0; m < per; m++) total[m] = vector{};
            for (int r = 0; r < t.runs; r++) {
                split(x + p.runs[t.run + r].first * events, value);
                for (int m = 0; m < per; m++) total[m] += p.factors[t.weight + r] * value[m];
            }
            store(x + to, M::join(total));
        });
    case product: {
        const long a = p.runs[t.run].first * events, b = p.runs[t.run + 1].first * events;
        return words<M>(at, t, block, [&](float *x, const float *) {
            vector left[per], right[per];
            split(x + a, left);
            split(x + b, right);
            for (int m = 0; m < per; m++) left[m] *= right[m];
            store(x + to, M::join(left));
        });
    }
    case product_slope: {  // of a sigmoid a times b: cotangent under the sigmoid, and that of b in rows of its own
        const long a = p.runs[t.run].first * events, b = p.runs[t.run + 1].first * events,
                   own = p.runs[t.run + 2].first * events;
        return words<M>(at, t, block, [&](float *g, const float *x) {
            vector left[per], right[per], slope[per];
            split(x + a, left);
            split(x + b, right);
            split(g + to, slope);
            for (int m = 0; m < per; m++) {
                right[m] *= slope[m] * left[m] * (1 - left[m]);
                left[m] *= slope[m];
            }
            store(g + a, M::join(right));
            store(g + own, M::join(left));
        });
    }
    }
}

template <typename M>
void pass(const Program &p, const Pass &at, Parallel parallel, int threads) {
    share((at.batch + events - 1) / events, parallel, threads, [&](long block) {
        for (const Step *t = p.steps; t < p.steps + p.n; t++) step<M>(p, at, *t, block);
    });
}

// -- inputs

template <typename M>
void fill(const Filled *table, long n, const float *const *parts, const long *pitch, const Pass &at, Parallel parallel,
          int threads) {
    share((at.batch + events - 1) / events, parallel, threads, [&](long block) {
        float *base = at.array + block * at.rows * events;
        const long begin = block * events, left = lower(events, at.batch - begin);
        for (const Filled *f = table; f < table + n; f++) {
            static const float nothing[events] = {};
            float rest[M::per][events];
            const float *from[M::per];
            for (int m = 0; m < M::per; m++) {
                from[m] = nothing;
                if (f->part[m] < 0) continue;
                from[m] = parts[f->part[m]] + f->feature[m] * pitch[f->part[m]] + begin;
                if (left == events) continue;
                for (long e = 0; e < events; e++) rest[m][e] = e < left ? from[m][e] : 0;
                from[m] = rest[m];
            }
            for (long e = 0; e < events; e += lanes) {
                vector value[M::per];
                for (int m = 0; m < M::per; m++) value[m] = load<vector>(from[m] + e);
                store(base + f->row * events + e, M::join(value));
            }
        }
    });
}

// -- gradients of weights

// Turned blocks: panels of 64 numbers, and the next 16 again, so that a vector may begin anywhere in one. Events (in half
// precision: pairs of them) follow one another, so a panel stays in the cache.
constexpr long panel = 64, pitch = panel + tile;
template <typename M> constexpr long panel_words = pitch * (events / M::per);

template <typename M> inline const float *at_number(const float *turned, long number) {
    return turned + number / panel * panel_words<M> + number % panel;
}

// Write 16 numbers of an event (or of a pair) to their panel, and to the end of the one before.
template <typename M> inline void put(float *turned, long number, long event, wide value) {
    float *to = turned + number / panel * panel_words<M> + event * pitch;
    store(to + number % panel, value);
    if (number % panel == 0 && number > 0) store(to - panel_words<M> + panel, value);
}

// Rows r.. and events e.. of a block, turned: to (events, numbers), in half precision (pairs of events, numbers).
#ifdef __AVX512F__
inline void turn(__m512 *x) {
    __m512 y[tile];
    for (int k = 0; k < tile; k += 2) {
        y[k] = _mm512_unpacklo_ps(x[k], x[k + 1]);
        y[k + 1] = _mm512_unpackhi_ps(x[k], x[k + 1]);
    }
    for (int k = 0; k < tile; k += 4)
        for (int j = 0; j < 2; j++) {
            x[k + 2 * j] = (__m512)_mm512_unpacklo_pd((__m512d)y[k + j], (__m512d)y[k + j + 2]);
            x[k + 2 * j + 1] = (__m512)_mm512_unpackhi_pd((__m512d)y[k + j], (__m512d)y[k + j + 2]);
        }
    for (int k = 0; k < tile; k += 8)
        for (int j = 0; j < 4; j++) {
            y[k + j] = _mm512_shuffle_f32x4(x[k + j], x[k + j + 4], 0x88);
            y[k + j + 4] = _mm512_shuffle_f32x4(x[k + j], x[k + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        x[j] = _mm512_shuffle_f32x4(y[j], y[j + 8], 0x88);
        x[j + 8] = _mm512_shuffle_f32x4(y[j], y[j + 8], 0xdd);
    }
}

inline void turned(const float *from, float *to, long row, long e, Single) {
    __m512 x[tile];
    for (int k = 0; k < tile; k++) x[k] = _mm512_loadu_ps(from + k * events);
    turn(x);
    for (int k = 0; k < tile; k++) put<Single>(to, row, e + k, (wide)x[k]);
}
#else
inline void turned(const float *from, float *to, long row, long e, Single) {
    for (int k = 0; k < tile; k++) {
        float numbers[tile];
        for (int j = 0; j < tile; j++) numbers[j] = from[j * events + k];
        put<Single>(to, row, e + k, load<wide>(numbers));
    }
}
#endif

#ifdef __AVX512BF16__
inline void turned(const float *from, float *to, long row, long e, Half) {
    __m512 x[tile];
    for (int k = 0; k < tile; k++) x[k] = _mm512_loadu_ps(from + k * events);
    turn(x);
    short first[32], second[32];
    for (int k = 0; k < 16; k++) {
        first[2 * k] = k, first[2 * k + 1] = 32 + k;
        second[2 * k] = 16 + k, second[2 * k + 1] = 48 + k;
    }
    const __m512i low = _mm512_loadu_si512(first), high = _mm512_loadu_si512(second);
    for (int k = 0; k < tile; k += 2) {
        const __m512i a = (__m512i)x[k], b = (__m512i)x[k + 1];
        put<Half>(to, 2 * row, (e + k) / 2, (wide)_mm512_permutex2var_epi16(a, low, b));
        put<Half>(to, 2 * row + tile, (e + k) / 2, (wide)_mm512_permutex2var_epi16(a, high, b));
    }
}
#endif

template <typename M> inline wide wide_product(float w, wide x, wide sum) { return sum + w * x; }
#ifdef __AVX512BF16__
template <> inline wide wide_product<Half>(float w, wide x, wide sum) { return Half::product(w, x, sum); }
#endif

template <typename M, int D, int K>
inline void outer(const Outer &t, const float *turned_x, const float *turned_g, bool first, float *to) {
    wide sum[D][K];
    for (int d = 0; d < D; d++)
        for (int k = 0; k < K; k++) sum[d][k] = first ? wide{} : load<wide>(to + (d * K + k) * tile);
    const float *x[K], *g = at_number<M>(turned_g, t.g);
    for (int k = 0; k < K; k++) x[k] = at_number<M>(turned_x, t.x[k]);
    for (long e = 0; e < events / M::per * pitch; e += pitch) {
        wide values[K];
        for (int k = 0; k < K; k++) values[k] = load<wide>(x[k] + e);
        for (int d = 0; d < D; d++)
            for (int k = 0; k < K; k++) sum[d][k] = wide_product<M>(g[e + d], values[k], sum[d][k]);
    }
    for (int d = 0; d < D; d++)
        for (int k = 0; k < K; k++) store(to + (d * K + k) * tile, sum[d][k]);
}

template <typename M, int D>
inline void outer(const Outer &t, const float *turned_x, const float *turned_g, bool first, float *to) {
    switch (t.vectors) {
    case 1: return outer<M, D, 1>(t, turned_x, turned_g, first, to);
    case 2: return outer<M, D, 2>(t, turned_x, turned_g, first, to);
    case 3: return outer<M, D, 3>(t, turned_x, turned_g, first, to);
    default: return outer<M, D, 4>(t, turned_x, turned_g, first, to);
    }
}

// Which rows of a block are turned, in tiles: those of inputs and of outputs of layers.
struct Tiles {
    const int *x, *g;
    long n_x, n_g;
};

template <typename M>
void weights(const Outer *tasks, long n, const Tiles &tiles, long rows, long batch, const float *x, const float *g,
             float *turned_x, float *turned_g, float *to, float *biases, Parallel parallel, int threads) {
    const union { unsigned bits; float number; } ones = {M::per == 1 ? 0x3f800000u : 0x3f803f80u};
    constexpr long some = 32;  // tasks at once
    for (long block = 0; block * events < batch; block++) {
        const bool first = block == 0;
        share(tiles.n_x + tiles.n_g, parallel, threads, [&](long k) {
            const bool of_x = k < tiles.n_x;
            const long row = (of_x ? tiles.x[k] : tiles.g[k - tiles.n_x]) * tile;
            for (long e = 0; e < events; e += tile)
                turned((of_x ? x : g) + (block * rows + row) * events + e, of_x ? turned_x : turned_g, row, e, M());
        });
        share((n + some - 1) / some, parallel, threads, [&](long k) {
            for (const Outer *t = tasks + k * some; t < tasks + lower(n, (k + 1) * some); t++) switch (t->numbers) {
                case 1: outer<M, 1>(*t, turned_x, turned_g, first, to + t->to); break;
                case 2: outer<M, 2>(*t, turned_x, turned_g, first, to + t->to); break;
                case 3: outer<M, 3>(*t, turned_x, turned_g, first, to + t->to); break;
                case 4: outer<M, 4>(*t, turned_x, turned_g, first, to + t->to); break;
                default: outer<M, 6>(*t, turned_x, turned_g, first, to + t->to);
                }
        });
        for (long n = 0; n < tiles.n_g * M::per; n++) {
            const long k = (tiles.g[n / M::per] * M::per + n % M::per) * tile;
            wide total = first ? wide{} : load<wide>(biases + k);
            const float *row = at_number<M>(turned_g, k);
            for (int e = 0; e < events / M::per; e++, row += pitch)
                total = wide_product<M>(ones.number, load<wide>(row), total);
            store(biases + k, total);
        }
    }
}

inline float halves(float a, float b) {
    union { float number; unsigned bits; } low = {a}, high = {b}, both;
    const auto rounded = [](unsigned x) { return x + 0x7fff + (x >> 16 & 1); };
    both.bits = rounded(low.bits) >> 16 | (rounded(high.bits) & 0xffff0000u);
    return both.number;
}

}  // namespace

extern "C" {

// Whether the processor multiplies numbers in half precision.
void network_has_half(int *has, Parallel, int) {
#ifdef __AVX512BF16__
    *has = 1;
#else
    *has = 0;
#endif
}

// Weights in the order in which they are read: index counts zero, one, and then the parameters one after the other.
void network_words(long half, const float *const *parameters, const long *sizes, long n, float *flat, const int *index,
                   long n_words, float *words, const int *bias_index, long n_biases, float *biases, Parallel, int) {
    flat[0] = 0;
    flat[1] = 1;
    float *to = flat + 2;
    for (long k = 0; k < n; to += sizes[k++]) __builtin_memcpy(to, parameters[k], sizes[k] * sizeof(float));
    if (half)
        for (long k = 0; k < n_words; k++) words[k] = halves(flat[index[2 * k]], flat[index[2 * k + 1]]);
    else
        for (long k = 0; k < n_words; k++) words[k] = flat[index[k]];
    for (long k = 0; k < n_biases; k++) biases[k] = flat[bias_index[k]];
}

void network_filled(long half, const Filled *table, long n, const float *const *parts, const long *pitch,
                    const Pass *at, Parallel parallel, int threads) {
#ifdef __AVX512BF16__
    if (half) return fill<Half>(table, n, parts, pitch, *at, parallel, threads);
#endif
    fill<Single>(table, n, parts, pitch, *at, parallel, threads);
}

void network_pass(long half, const Program *program, const Pass *at, Parallel parallel, int threads) {
#ifdef __AVX512BF16__
    if (half) return pass<Half>(*program, *at, parallel, threads);
#endif
    pass<Single>(*program, *at, parallel, threads);
}

// Gradients of all parameters, times a scale, in their order: `index` has the place of each among the sums, -1 for none.
void network_weights(long half, const Outer *tasks, long n, const Tiles *tiles, long rows, long batch, const float *x,
                     const float *g, float *turned_x, float *turned_g, float *made, float *biases, const int *index,
                     float *const *parameters, const long *sizes, long n_parameters, float scale, Parallel parallel,
                     int threads) {
#ifdef __AVX512BF16__
    if (half)
        weights<Half>(tasks, n, *tiles, rows, batch, x, g, turned_x, turned_g, made, biases, parallel, threads);
    else
#endif
        weights<Single>(tasks, n, *tiles, rows, batch, x, g, turned_x, turned_g, made, biases, parallel, threads);
    for (long k = 0; k < n_parameters; index += sizes[k++])
        for (long j = 0; j < sizes[k]; j++) parameters[k][j] = index[j] < 0 ? 0 : scale * made[index[j]];
}
}
