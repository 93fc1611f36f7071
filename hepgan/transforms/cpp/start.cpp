// The statistical start of a generator of showers: values of normal numbers, `ConditionalQuantile` in
// hepgan/transforms/energy.py and `ConditionalStart` in hepgan/models. Arrays are (rows, B), the batch innermost.

#include <algorithm>
#include <cmath>
#include <functional>
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

// Where an event lies among the energies of the tables: the node below it, and how far it is from there.
struct Places {
    std::vector<int> node;
    std::vector<float> next;

    Places(long batch, long nodes, const float *position) : node(batch), next(batch) {
        for (long b = 0; b < batch; b++) {
            node[b] = lower(long(position[b]), nodes - 2);
            next[b] = position[b] - float(node[b]);
        }
    }
};

struct Knots {
    long count;
    float range, floor, least_span, edge_width, bend;
};

// One variable; `bent`: its knots are denser at the edge. A loop without branches, for vectors of events.
template <bool bent, bool sloped>
void quantiles_of(const Knots &knots, const Places &places, long batch, const float *__restrict threshold,
                  const float *__restrict table, const float *__restrict z, float *__restrict value,
                  float *__restrict slope) {
    const int *__restrict node = places.node.data();
    const float *__restrict nexts = places.next.data();
    const float most = float(knots.count - 1), straight = 1 - knots.bend, range = knots.range, floor = knots.floor;
    const int count = int(knots.count), last = count - 2;
    for (long b = 0; b < batch; b++) {
        const float next = nexts[b], number = z[b];
        const float below = threshold[node[b]], begin = below + next * (threshold[node[b] + 1] - below);
        const float start = begin > -range ? begin : -range;
        const float span = range - start > knots.least_span ? range - start : knots.least_span;
        const float part = (number - start) / span, limited = part < 0 ? 0 : part > 1 ? 1 : part;
        const float root = bent ? std::sqrt(straight * straight + 4 * knots.bend * limited) : 1;
        const float inside = most * (bent ? (root - straight) / (2 * knots.bend) : limited);
        const int whole = int(inside), knot = whole < last ? whole : last;
        const int at = node[b] * count, here = at + knot;
        const float low = table[here] + next * (table[here + count] - table[here]);
        const float high = table[here + 1] + next * (table[here + count + 1] - table[here + 1]);
        const float over = number - begin;
        value[b] = over > 0 ? low + (inside - float(knot)) * (high - low) : floor + over;
        if (!sloped) continue;
        float made = part < 0 || part > 1 ? 0 : most / (span * root) * (high - low);
        if (bent) {
            const float first = table[at] + next * (table[at + count] - table[at]) - floor;
            made += over < knots.edge_width && first > 0 ? first / knots.edge_width : 0;
        }
        slope[b] = over > 0 ? made : 1;
    }
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
    const Places places(batch, nodes, position);
    const Knots all{knots, range, floor, least_span, edge_width, bend};
    share(variables, parallel, threads, [&](long v) {
        const float *zero = threshold + v * nodes;
        const auto of = zero[0] > -range ? (slope ? quantiles_of<true, true> : quantiles_of<true, false>)
                                         : (slope ? quantiles_of<false, true> : quantiles_of<false, false>);
        of(all, places, batch, zero, table + v * nodes * knots, z + v * batch, value + v * batch,
           slope ? slope + v * batch : nullptr);
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

// The `number`-th largest (B,) of the values (rows, B) of each event, and the next one: the last, if there is none.
void nth_largest(long rows, long batch, const float *values, const float *number, float *upper, float *lower,
                 Parallel parallel, int threads) {
    constexpr long together = 32;
    share((batch + together - 1) / together, parallel, threads, [&](long block) {
        std::vector<float> own(rows);
        for (long b = block * together; b < std::min(batch, (block + 1) * together); b++) {
            for (long r = 0; r < rows; r++) own[r] = values[r * batch + b];
            const auto place = own.begin() + (long(number[b]) - 1);
            std::nth_element(own.begin(), place, own.end(), std::greater<float>());
            upper[b] = *place;
            lower[b] = place + 1 == own.end() ? *place : *std::max_element(place + 1, own.end());
        }
    });
}

// Values (n_x n_y, B) of which each is turned with the next one along x (`axis` 0) or y (1): cosine (B,) times itself plus
// sine (B,) times the next one. The last one stays as it is, unless the axis is closed.
void neighbours(long n_x, long n_y, long axis, long closed, long batch, const float *values, const float *cosine,
                const float *sine, float *result, Parallel parallel, int threads) {
    const long size = axis ? n_y : n_x, stride = axis ? 1 : n_y;
    share(n_x * n_y, parallel, threads, [&](long cell) {
        const long place = axis ? cell % n_y : cell / n_y, next = place + 1 < size ? cell + stride : cell - place * stride;
        const float *__restrict own = values + cell * batch, *__restrict other = values + next * batch;
        float *__restrict to = result + cell * batch;
        if (place + 1 < size || closed)
            for (long b = 0; b < batch; b++) to[b] = cosine[b] * own[b] + sine[b] * other[b];
        else
            std::copy(own, own + batch, to);
    });
}
}
