// The statistical start of a generator of showers: values of normal numbers, `ConditionalQuantile` in
// hepgan/transforms/energy.py. Arrays are (rows, B), the batch innermost.

#include <cmath>
#include <vector>

#include "vectors.hpp"

namespace {

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
}
