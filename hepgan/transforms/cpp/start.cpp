// The statistical start of a generator of showers: values of normal numbers, `ConditionalQuantile` in
// hepgan/transforms/energy.py. Arrays are (rows, B), the batch innermost.

#include <cmath>

#include "vectors.hpp"

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
}
