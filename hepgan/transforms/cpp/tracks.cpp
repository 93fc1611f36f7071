// Tracks on CPUs: tent functions, sums over features that are mostly zero, whitening, and the energy score; with their
// derivatives. The formulas are those of `Tents`, `Whitening` and `energy_score`. Features are (B, F); other arrays are
// (rows, B), the batch innermost.

#include <cmath>
#include <vector>

#include "vectors.hpp"

namespace {

constexpr long events = 64;  // of a block

// Bits of those of n <= 16 numbers that are not zero.
inline unsigned present(const float *x, long n) {
    unsigned bits = 0;
    for (long k = 0; k < n; k++) bits |= unsigned(x[k] != 0) << k;
    return bits;
}

// Visit the features of an event that are not zero: function(k, value).
template <typename F> inline void features(const float *x, long n, F function) {
    for (long k = 0; k < n; k += 16)
        for (unsigned bits = present(x + k, lower(16, n - k)); bits; bits &= bits - 1) {
            const long found = k + __builtin_ctz(bits);
            function(found, x[found]);
        }
}

// Blocks of up to 64 events: function(begin, end).
template <typename F> inline void each_block(long batch, Parallel parallel, int threads, F function) {
    share((batch + events - 1) / events, parallel, threads,
          [&](long block) { function(block * events, lower(batch, (block + 1) * events)); });
}

// Vectors of events, then single ones: function(e, number), where number has the type of what is computed at once.
template <typename F> inline void vectors(long begin, long end, F function) {
    long e = begin;
    for (; e + lanes <= end; e += lanes) function(e, vector{});
    for (; e < end; e++) function(e, 0.0f);
}

template <typename V> inline V root(V x) {
    for (int k = 0; k < int(sizeof(V) / sizeof(float)); k++) ((float *)&x)[k] = std::sqrt(((float *)&x)[k]);
    return x;
}

template <typename V> inline V magnitude(V x) { return x > 0 ? x : -x; }
template <typename V> inline V sign(V x) { return (x > 0 ? V{} + 1 : V{}) - (x < 0 ? V{} + 1 : V{}); }

}  // namespace

extern "C" {

// Tents (B, conditions * nodes) of numbers (B, conditions), with nodes at place (conditions, nodes).
void tents(long conditions, long nodes, long batch, const float *x, const float *place, float *to, Parallel parallel,
           int threads) {
    each_block(batch, parallel, threads, [&](long begin, long end) {
        std::vector<float> slope(conditions * nodes), covered(nodes + 1);
        for (long c = 0; c < conditions; c++)
            for (long h = 0; h + 1 < nodes; h++) {
                const float gap = place[c * nodes + h + 1] - place[c * nodes + h];
                slope[c * nodes + h] = gap > 0 ? 1 / gap : 0;
            }
        covered[0] = 1, covered[nodes] = 0;  // covered[h + 1]: part of interval h that lies below x
        for (long e = begin; e < end; e++)
            for (long c = 0; c < conditions; c++) {
                const float *node = place + c * nodes, *s = slope.data() + c * nodes, value = x[e * conditions + c];
                for (long h = 0; h + 1 < nodes; h++)
                    covered[h + 1] = smaller(larger((value - node[h]) * s[h], 0.0f), 1.0f);
                float *row = to + (e * conditions + c) * nodes;
                for (long h = 0; h < nodes; h++) row[h] = covered[h] - covered[h + 1];
            }
    });
}

// Sums (outputs, B) of features (B, n), most of which are zero, times columns first..first+n of weights (outputs, columns).
void sparse_sums(long outputs, long columns, long first, long n, long batch, const float *weights, const float *x, float *to,
                 Parallel parallel, int threads) {
    const long padded = (outputs + lanes - 1) / lanes * lanes;
    std::vector<float> turned(n * padded);
    for (long k = 0; k < outputs; k++)
        for (long f = 0; f < n; f++) turned[f * padded + k] = weights[k * columns + first + f];
    each_block(batch, parallel, threads, [&](long begin, long end) {
        std::vector<float> sums(events * padded), values(n);
        std::vector<const float *> rows(n);
        for (long e = begin; e < end; e++) {
            long found = 0;
            features(x + e * n, n, [&](long f, float value) {
                rows[found] = turned.data() + f * padded;
                values[found++] = value;
            });
            for (long k = 0; k < padded; k += lanes) {
                vector sum = {};
                for (long f = 0; f < found; f++) sum += values[f] * load<vector>(rows[f] + k);
                store(sums.data() + (e - begin) * padded + k, sum);
            }
        }
        for (long k = 0; k < outputs; k++)
            for (long e = begin; e < end; e++) to[k * batch + e] = sums[(e - begin) * padded + k];
    });
}

// Derivatives of the sums by weights (outputs, columns), from those by the sums (outputs, B).
void sparse_sums_gradient(long outputs, long columns, long first, long n, long batch, const float *g, const float *x,
                          float *to, Parallel parallel, int threads) {
    constexpr long some = 2 * lanes;  // outputs of a task, which alone visits all events for them: a fixed order of sums
    share((outputs + some - 1) / some, parallel, threads, [&](long task) {
        const long low = task * some, high = lower(outputs, low + some);
        std::vector<float> sums(n * some);
        float turned[events][some] = {};
        for (long begin = 0; begin < batch; begin += events) {
            const long end = lower(batch, begin + events);
            for (long k = low; k < high; k++)
                for (long e = begin; e < end; e++) turned[e - begin][k - low] = g[k * batch + e];
            for (long e = begin; e < end; e++) {
                const vector a = load<vector>(turned[e - begin]), b = load<vector>(turned[e - begin] + lanes);
                features(x + e * n, n, [&](long f, float value) {
                    float *sum = sums.data() + f * some;
                    store(sum, load<vector>(sum) + value * a);
                    store(sum + lanes, load<vector>(sum + lanes) + value * b);
                });
            }
        }
        for (long k = low; k < high; k++) {
            for (long f = 0; f < columns; f++) to[k * columns + f] = 0;
            for (long f = 0; f < n; f++) to[k * columns + first + f] = sums[f * some + k - low];
        }
    });
}

// Numbers z (n, B) that are free, and whitened ones clipped at +-most, (2 n, B); coefficients are (n (n + 2), B).
void whitened(long n, long batch, float most, const float *z, const float *free, const float *coefficients, float *to,
              Parallel parallel, int threads) {
    each_block(batch, parallel, threads, [&](long begin, long end) {
        vectors(begin, end, [&](long e, auto kind) {
            using V = decltype(kind);
            const auto at = [&](const float *array, long row) { return load<V>(array + row * batch + e); };
            for (long v = 0; v < n; v++) {
                const V x = at(z, v), open = at(free, v);
                V rest = x - at(coefficients, v);
                for (long u = 0; u < v; u++) rest -= at(coefficients, (2 + v) * n + u) * at(to, n + u);
                store(to + v * batch + e, x * open);
                store(to + (n + v) * batch + e, rest * open);
            }
            for (long v = 0; v < n; v++) {
                const V y = at(to, n + v) * exponential(-at(coefficients, n + v));
                store(to + (n + v) * batch + e, smaller(larger(y, V{} - most), V{} + most));
            }
        });
    });
}

// Derivatives by z (n, B) from those by the results, g (2 n, B); `made` are the results.
void whitened_gradient(long n, long batch, float most, const float *free, const float *coefficients, const float *made,
                       const float *g, float *to, Parallel parallel, int threads) {
    each_block(batch, parallel, threads, [&](long begin, long end) {
        vectors(begin, end, [&](long e, auto kind) {
            using V = decltype(kind);
            const auto at = [&](const float *array, long row) { return load<V>(array + row * batch + e); };
            for (long v = 0; v < n; v++) {
                const V slope = at(g, n + v) * exponential(-at(coefficients, n + v));
                store(to + v * batch + e, magnitude(at(made, n + v)) < most ? slope : V{});
            }
            for (long v = n - 1; v >= 0; v--) {
                const V open = at(free, v), rest = at(to, v) * open;
                for (long u = 0; u < v; u++)
                    store(to + u * batch + e, at(to, u) - at(coefficients, (2 + v) * n + u) * rest);
                store(to + v * batch + e, rest + at(g, v) * open);
            }
        });
    });
}

// Energy score of each event times its weight, (B), of real and two generated events (n, B); if wanted (not null), its
// derivatives by both generated ones. `least` is added under the square roots.
void energy_score(long n, long batch, float least, const float *real, const float *fake, const float *other,
                  const float *weights, float *scores, float *by_fake, float *by_other, Parallel parallel, int threads) {
    each_block(batch, parallel, threads, [&](long begin, long end) {
        vectors(begin, end, [&](long e, auto kind) {
            using V = decltype(kind);
            const auto at = [&](const float *array, long row) { return load<V>(array + row * batch + e); };
            V a = V{} + least, b = a, c = a, each = {};
            for (long k = 0; k < n; k++) {
                const V x = at(real, k), y = at(fake, k), z = at(other, k);
                a += (x - y) * (x - y), b += (x - z) * (x - z), c += (y - z) * (y - z);
                each += magnitude(x - y) + magnitude(x - z) - magnitude(y - z);
            }
            a = root(a), b = root(b), c = root(c);
            const V weight = load<V>(weights + e);
            store(scores + e, weight * (a + b - c + each));
            if (!by_fake) return;
            a = 1 / a, b = 1 / b, c = 1 / c;
            for (long k = 0; k < n; k++) {
                const V x = at(real, k), y = at(fake, k), z = at(other, k);
                const V apart = (y - z) * c + sign(y - z);
                store(by_fake + k * batch + e, weight * ((y - x) * a + sign(y - x) - apart));
                store(by_other + k * batch + e, weight * ((z - x) * b + sign(z - x) + apart));
            }
        });
    });
}
}
