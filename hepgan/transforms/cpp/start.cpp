// The statistical start of a generator of showers: values of normal numbers, `ConditionalQuantile` in
// hepgan/transforms/energy.py and `ConditionalStart` in hepgan/models. Arrays are (rows, B), the batch innermost.

#ifdef __GNUC__
#pragma GCC optimize("no-math-errno")  // roots of vectors
#endif

#include <cmath>
#include <vector>

#include "vectors.hpp"

namespace {

inline float root(float x) { return __builtin_sqrtf(x); }
inline vector root(vector x) {
    float numbers[lanes];
    store(numbers, x);
    for (int l = 0; l < lanes; l++) numbers[l] = __builtin_sqrtf(numbers[l]);
    return load<vector>(numbers);
}

}  // namespace

extern "C" {

// Values of normal numbers z (V, B) at positions (B,) among the energies: thresholds (V, nodes) and tables
// (V, nodes, knots), linear between energies; the knots go from the threshold (at least -range) to range.
// `slope`, if not null, gets the derivatives. Widths and bend are those of ConditionalQuantile.
void sharp_quantiles(long variables, long batch, long nodes, long knots, float range, float floor,
                     float least_span, float edge_width, float bend, const float *z, const float *position,
                     const float *threshold, const float *table, float *value, float *slope, Parallel parallel,
                     int threads) {
    const float most = float(knots - 1);
    const int last = int(knots) - 2, final = int(nodes) - 2;
    share(variables, parallel, threads, [&](long v) {
        const float *zero = threshold + v * nodes, *entries = table + v * nodes * knots;
        const bool bent = zero[0] > -range;
        for (long b = 0; b < batch; b++) {
            const int node = int(position[b]) < final ? int(position[b]) : final;
            const float next = position[b] - float(node), number = z[v * batch + b];
            const float begin = zero[node] + next * (zero[node + 1] - zero[node]);
            const float start = begin > -range ? begin : -range;
            const float span = range - start > least_span ? range - start : least_span;
            const float part = (number - start) / span, limited = part < 0 ? 0 : part > 1 ? 1 : part;
            const float root = bent ? std::sqrt((1 - bend) * (1 - bend) + 4 * bend * limited) : 1;
            const float inside = most * (bent ? (root - (1 - bend)) / (2 * bend) : limited);
            const int knot = int(inside) < last ? int(inside) : last;
            const float *at = entries + node * knots;
            const float low = at[knot] + next * (at[knots + knot] - at[knot]);
            const float high = at[knot + 1] + next * (at[knots + knot + 1] - at[knot + 1]);
            const float over = number - begin;
            value[v * batch + b] = over > 0 ? low + (inside - float(knot)) * (high - low) : floor + over;
            if (!slope) continue;
            const float first = at[0] + next * (at[knots] - at[0]) - floor;
            const float edge = bent && over < edge_width && first > 0 ? first / edge_width : 0;
            slope[v * batch + b] = over > 0 ? (part < 0 || part > 1 ? 0 : most / (span * root) * (high - low)) + edge : 1;
        }
    });
}

// Values of normal numbers z (n_x n_y, B) of the cells of a layer, and their derivatives if `slope` is not null. Numbers
// of a cell are `read` (2 + knots, shapes) of the products of columns (n_x, shapes, B) and rows (n_y, shapes, B), and
// `offset`: its threshold, to which `above` (n_x n_y,) is added, the first quantile, to which `logs` (B,) are added, and
// steps between quantiles; all but the threshold pass (x + sqrt(x^2 + round^2)) / 2. Else as above.
void frame_quantiles(long n_x, long n_y, long shapes, long knots, long batch, float range, float least_span,
                     float edge_width, float bend, float round, const float *columns, const float *rows,
                     const float *read, const float *offset, const float *logs, const float *above, const float *z,
                     float *value, float *slope, Parallel parallel, int threads) {
    const float most = float(knots - 1), even = 1 - bend;
    share(n_x * n_y, parallel, threads, [&](long cell) {
        const float *column = columns + cell / n_y * shapes * batch, *row = rows + cell % n_y * shapes * batch;
        std::vector<float> products(shapes * across * lanes), numbers((knots + 1) * across * lanes);
        blocks(0, batch, [&](long b, auto kind) {
            using V = typename decltype(kind)::type;
            constexpr int n = decltype(kind)::n;
            constexpr long each = width_of<V>;
            for (long r = 0; r < shapes; r++)
                for (int k = 0; k < n; k++) {
                    const long at = r * batch + b + k * each;
                    store(&products[(r * n + k) * each], load<V>(column + at) * load<V>(row + at));
                }
            for (long p = 0; p <= knots; p++) {
                V sum[n];
                for (int k = 0; k < n; k++) sum[k] = V{} + offset[p];
                for (long r = 0; r < shapes; r++)
                    for (int k = 0; k < n; k++)
                        sum[k] += read[p * shapes + r] * load<V>(&products[(r * n + k) * each]);
                for (int k = 0; k < n; k++) {
                    if (p == 1) sum[k] += load<V>(logs + b + k * each);
                    if (p > 0) sum[k] = 0.5f * (sum[k] + root(V(sum[k] * sum[k] + round * round)));
                    store(&numbers[(p * n + k) * each], sum[k]);
                }
            }
            for (int k = 0; k < n; k++) {
                const auto number = [&](long p) { return load<V>(&numbers[(p * n + k) * each]); };
                const long at = cell * batch + b + k * each;
                const V zero = V{}, one = V{} + 1.0f;
                const V threshold = number(0) + above[cell], normal = load<V>(z + at), over = normal - threshold;
                const V start = larger(threshold, zero - range), span = larger(range - start, zero + least_span);
                const V part = smaller(larger((normal - start) / span, zero), one);
                const V bent = root(V(even * even + 4 * bend * part));
                const V place = smaller(larger((bent - even) / (2 * bend), zero), one) * most;
                V sum = number(1), step = zero;
                for (long p = 0; p + 1 < knots; p++) {
                    const V passed = place - float(p), size = number(p + 2);
                    sum += size * smaller(larger(passed, zero), one);
                    step += passed >= 0 ? (passed < 1 ? size : zero) : zero;
                }
                store(value + at, V(over > 0 ? sum : over));
                if (!slope) continue;
                const V edge = over < edge_width ? number(1) / edge_width : zero;
                store(slope + at, V(over > 0 ? most * step / (bent * span) + edge : one));
            }
        });
    });
}
}
