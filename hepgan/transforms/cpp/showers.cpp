// Showers on CPUs: energies of a shower from logarithms, and what a critic sees of a shower; with their derivatives. The
// formulas are those of `ShowerScaling` and `ShowerShapes`; all the numbers of a few events stay in the cache from the
// first step to the last. Arrays are (rows, B), the batch innermost.

#include <cmath>

#include "vectors.hpp"

namespace {

// -- functions of a vector, or of one number: log by the series of atanh

template <typename I, typename V> inline I bits(V x) {
    union { V number; I bits; } both = {x};
    return both.bits;
}
template <typename V, typename I> inline V number(I n) {
    union { I bits; V number; } both = {n};
    return both.number;
}
template <typename V> struct Integers { using type = whole; };
template <> struct Integers<float> { using type = int; };

template <typename V> inline V logarithm(V x) {  // of normal positive numbers
    using I = typename Integers<V>::type;
    const I shifted = bits<I>(x) - 0x3f3504f3;  // so that the mantissa lies between sqrt(1/2) and sqrt(2)
    const I n = shifted >> 23;
    const V m = number<V>(I((shifted & 0x007fffff) + 0x3f3504f3));
    const V s = (m - 1) / (m + 1), square = s * s;
    V sum = V{} + 2.0f / 11;
    for (const float c : {2.0f / 9, 2.0f / 7, 2.0f / 5, 2.0f / 3}) sum = sum * square + c;
    return real(n) * 0.693147181f + (2 * s + s * square * sum);
}

template <typename V> inline V log1p_of(V x) {  // of numbers >= 0, to the last digits of small ones
    const V sum = x + 1, rest = sum - 1;
    return rest > 0 ? logarithm(sum) * (x / (rest > 0 ? rest : V{} + 1)) : x;
}

template <typename V> inline V root(V x) {
    for (int k = 0; k < int(sizeof(V) / sizeof(float)); k++) ((float *)&x)[k] = std::sqrt(((float *)&x)[k]);
    return x;
}

template <typename V> inline bool any(V x) {
    bool found = false;
    for (int k = 0; k < int(sizeof(V) / sizeof(float)); k++) found |= ((const float *)&x)[k] != 0;
    return found;
}

constexpr float tiny = 1e-12f;        // in 0/0, as in ShowerShapes and ShowerScaling
constexpr float depth_floor = 1e-6f;  // to the variance of the depth, as in ShowerShapes
constexpr float least = 1e-3f;        // smallest log of the brightest cell of a layer, as in ShowerScaling

}  // namespace

extern "C" {

// A calorimeter: cells of layer l are first[l]..first[l+1], order sorts the layers by energy, the brightest last.
struct Calorimeter {
    long layers, overflow, batch;
    const long *first, *order;
    const float *x, *y, *floors;  // position of each cell, and what is added to the variances of a layer
    float offset, threshold, softness;
};
}

namespace {

// Row k of an array, at the event (or vector of events) b.
template <typename V> struct Rows {
    float *data;
    long batch, b;
    V operator[](long k) const { return load<V>(data + k * batch + b); }
    void set(long k, V value) const { store(data + k * batch + b, value); }
};

template <typename V> inline Rows<V> rows(const float *data, long batch, long b) {
    return {const_cast<float *>(data), batch, b};
}

// Energies of the layers: each but the last in the order takes its part of what those before it have left.
template <typename V> struct Chain {
    V energy[128], part[128], before[128];  // the last two in the order of the layers

    Chain(const Calorimeter &c, const Rows<V> &in, V incident) {
        const V zero{};
        V remaining = larger(in[0], zero) * incident;
        for (long k = 0; k + 1 < c.layers; k++) {
            part[k] = larger(exponential(V(in[1 + k])) - 1, zero) * c.offset;
            before[k] = remaining;
            energy[c.order[k]] = smaller(part[k], remaining);
            remaining -= energy[c.order[k]];
        }
        energy[c.order[c.layers - 1]] = remaining;
    }
};

template <typename V>
void energies(const Calorimeter &c, const float *logs, const float *incident, float *cells, float *overflow,
              float *raw, float *factors, long b) {
    const long layers = c.layers, global = layers + (c.overflow ? layers : 0);
    const auto in = rows<V>(logs, c.batch, b), out = rows<V>(cells, c.batch, b), outside = rows<V>(overflow, c.batch, b);
    const auto kept = rows<V>(raw, c.batch, b), factor = rows<V>(factors, c.batch, b);
    const V zero{}, offset = V{} + c.offset;
    const Chain<V> chain(c, in, load<V>(incident + b));
    for (long l = 0; l < layers; l++) {
        V inside = chain.energy[l];
        if (c.overflow) {
            const V part = larger(exponential(V(in[layers + l])) - 1, zero) * offset;
            outside.set(l, smaller(part, inside));
            inside -= outside[l];
        }
        V most = in[global + c.first[l]], sum{};
        for (long k = c.first[l]; k < c.first[l + 1]; k++) most = larger(most, V(in[global + k]));
        const V shift = smaller(most - least, zero);
        for (long k = c.first[l]; k < c.first[l + 1]; k++) {
            const V value = larger(exponential(V(in[global + k] - shift)) - 1, zero);
            out.set(k, value);
            sum += value;
        }
        const V inverse = 1 / (sum + tiny), share = inside * inverse;
        if (raw) factor.set(l, share), factor.set(layers + l, inverse);
        for (long k = c.first[l]; k < c.first[l + 1]; k++) {
            if (raw) kept.set(k, out[k]);
            out.set(k, out[k] * share);
        }
    }
}

template <typename V>
void energies_gradient(const Calorimeter &c, const float *logs, const float *incident, const float *cells,
                       const float *overflow, const float *raw, const float *factors, float *gradient, long b) {
    const long layers = c.layers, global = layers + (c.overflow ? layers : 0);
    const auto in = rows<V>(logs, c.batch, b), g = rows<V>(cells, c.batch, b), go = rows<V>(overflow, c.batch, b);
    const auto kept = rows<V>(raw, c.batch, b), factor = rows<V>(factors, c.batch, b), to = rows<V>(gradient, c.batch, b);
    const V zero{}, one = V{} + 1, offset = V{} + c.offset;
    const Chain<V> chain(c, in, load<V>(incident + b));
    V by[128];
    for (long l = 0; l < layers; l++) {
        V dot{};
        for (long k = c.first[l]; k < c.first[l + 1]; k++) dot += g[k] * kept[k];
        const V share = factor[l], inverse = factor[layers + l], common = dot * share * inverse;
        by[l] = dot * inverse;
        V sum{}, most = in[global + c.first[l]];
        for (long k = c.first[l]; k < c.first[l + 1]; k++) {
            const V value = kept[k] > 0 ? (g[k] * share - common) * (kept[k] + 1) : zero;
            to.set(global + k, value);
            sum += value;
            most = larger(most, V(in[global + k]));
        }
        const V raised = most < least ? one : zero;
        if (any(raised)) {  // the logarithms were raised by the largest one, which the others follow
            V count{};
            for (long k = c.first[l]; k < c.first[l + 1]; k++) count += in[global + k] == most ? one : zero;
            for (long k = c.first[l]; k < c.first[l + 1]; k++)
                to.set(global + k, to[global + k] - (in[global + k] == most ? raised * sum / count : zero));
        }
        if (c.overflow) {
            const V deposit = larger(exponential(V(in[layers + l])) - 1, zero) * offset, slope = go[l] - by[l];
            const V side = deposit < chain.energy[l] ? one : deposit > chain.energy[l] ? zero : one * 0.5f;
            by[l] += (1 - side) * slope;
            to.set(layers + l, deposit > 0 ? side * slope * (deposit + offset) : zero);
        }
    }
    V rest = by[c.order[layers - 1]];
    for (long k = layers - 2; k >= 0; k--) {
        const V slope = by[c.order[k]] - rest;
        const V part = chain.part[k], before = chain.before[k];
        const V side = part < before ? one : part > before ? zero : one * 0.5f;
        rest += (1 - side) * slope;
        to.set(1 + k, part > 0 ? side * slope * (part + offset) : zero);
    }
    to.set(0, in[0] > 0 ? rest * load<V>(incident + b) : zero);
}

// Sums over the cells of a layer, which its shapes are made of.
template <typename V> struct Layer {
    V total, inverse, mean[2], variance[2], first, second;
    typename Integers<V>::type brightest, other;
};

template <typename V> Layer<V> summed(const Calorimeter &c, const Rows<V> &e, long l) {
    using I = typename Integers<V>::type;
    const V zero{};
    Layer<V> s{zero, zero, {zero, zero}, {zero, zero}, zero - 1, zero - 1, I{}, I{}};
    for (long k = c.first[l]; k < c.first[l + 1]; k++) {
        const V value = e[k];
        s.total += value;
        s.mean[0] += c.x[k] * value;
        s.mean[1] += c.y[k] * value;
        const I here = I{} + int(k);
        s.other = value > s.first ? s.brightest : value > s.second ? here : s.other;
        s.second = value > s.first ? s.first : larger(s.second, value);
        s.brightest = value > s.first ? here : s.brightest;
        s.first = larger(s.first, value);
    }
    if (c.first[l + 1] - c.first[l] < 2) s.second = zero;
    s.inverse = 1 / (s.total + tiny);
    for (int axis = 0; axis < 2; axis++) s.mean[axis] *= s.inverse;
    for (long k = c.first[l]; k < c.first[l + 1]; k++) {
        const V value = e[k], dx = c.x[k] - s.mean[0], dy = c.y[k] - s.mean[1];
        s.variance[0] += value * dx * dx;
        s.variance[1] += value * dy * dy;
    }
    for (int axis = 0; axis < 2; axis++) s.variance[axis] *= s.inverse;
    return s;
}

// Rows of the features: response, logs of the layers but the brightest, of overflow, of cells; then the shapes.
template <typename V>
void features(const Calorimeter &c, const float *cells, const float *overflow, const float *incident, float *result,
              long b) {
    const long layers = c.layers, outside = c.overflow ? layers : 0, n = c.first[layers];
    const auto e = rows<V>(cells, c.batch, b), o = rows<V>(overflow, c.batch, b), out = rows<V>(result, c.batch, b);
    const long logs = layers + outside, shapes = logs + n, each = shapes + 3 + 2 * layers + outside;
    const V zero{};
    const float inverse = 1 / c.offset;
    V visible{}, everything{}, sums[128];
    for (long l = 0; l < layers; l++) {
        const Layer<V> s = summed(c, e, l);
        V hit{};
        for (long k = c.first[l]; k < c.first[l + 1]; k++) {
            out.set(logs + k, log1p_of(V(e[k] * inverse)));
            hit += e[k] > c.threshold ? zero + 1 : zero;
        }
        sums[l] = s.total;
        visible += s.total;
        everything += s.total + (outside ? V(o[l]) : zero);
        const long at = each + 7 * l;
        for (int axis = 0; axis < 2; axis++) {
            out.set(at + 2 * axis, s.mean[axis]);
            out.set(at + 2 * axis + 1, root(V(s.variance[axis] + c.floors[l])));
        }
        out.set(at + 4, hit * (1.0f / float(c.first[l + 1] - c.first[l])));
        out.set(at + 5, s.first * s.inverse);
        out.set(at + 6, (s.first - s.second) / (s.first + s.second + tiny));
    }
    const V response = everything / load<V>(incident + b), share = 1 / (visible + tiny);
    out.set(0, response);
    out.set(shapes, response);
    for (long k = 0; k + 1 < layers; k++) {
        const long l = c.order[k];
        out.set(1 + k, log1p_of(V((sums[l] + (outside ? V(o[l]) : zero)) * inverse)));
    }
    V depth{}, spread{};
    for (long l = 0; l < layers; l++) {
        out.set(shapes + 3 + l, sums[l]);
        out.set(shapes + 3 + layers + l, sums[l] * share);
        if (outside) {
            out.set(layers + l, log1p_of(V(o[l] * inverse)));
            out.set(shapes + 3 + 2 * layers + l, o[l]);
        }
        depth += float(l) * sums[l] * share;
    }
    for (long l = 0; l < layers; l++) spread += sums[l] * share * (float(l) - depth) * (float(l) - depth);
    out.set(shapes + 1, depth);
    out.set(shapes + 2, root(V(spread + depth_floor)));
}

template <typename V>
void features_gradient(const Calorimeter &c, const float *cells, const float *overflow, const float *incident,
                       const float *cotangent, float *by_cells, float *by_overflow, long b) {
    using I = typename Integers<V>::type;
    const long layers = c.layers, outside = c.overflow ? layers : 0, n = c.first[layers];
    const auto e = rows<V>(cells, c.batch, b), o = rows<V>(overflow, c.batch, b), g = rows<V>(cotangent, c.batch, b);
    const auto ge = rows<V>(by_cells, c.batch, b), go = rows<V>(by_overflow, c.batch, b);
    const long logs = layers + outside, shapes = logs + n, each = shapes + 3 + 2 * layers + outside;
    const V zero{};
    V visible{}, sums[128], by[128], shares[128];
    for (long l = 0; l < layers; l++) {
        V total{};
        for (long k = c.first[l]; k < c.first[l + 1]; k++) total += e[k];
        sums[l] = total;
        visible += total;
    }
    const V share = 1 / (visible + tiny), response = (g[0] + g[shapes]) / load<V>(incident + b);
    V depth{}, spread{};
    for (long l = 0; l < layers; l++) depth += float(l) * sums[l] * share;
    for (long l = 0; l < layers; l++) spread += sums[l] * share * (float(l) - depth) * (float(l) - depth);
    const V by_spread = g[shapes + 2] / (2 * root(V(spread + depth_floor)));
    V by_depth = g[shapes + 1], by_share{};
    for (long l = 0; l < layers; l++) by_depth -= 2 * by_spread * sums[l] * share * (float(l) - depth);
    for (long l = 0; l < layers; l++) {
        const V distance = float(l) - depth;
        shares[l] = g[shapes + 3 + layers + l] + by_depth * float(l) + by_spread * distance * distance;
        by_share += shares[l] * sums[l];
    }
    for (long l = 0; l < layers; l++) {
        by[l] = response + g[shapes + 3 + l] + share * (shares[l] - share * by_share);
        if (outside)
            go.set(l, response + g[shapes + 3 + 2 * layers + l] + g[layers + l] / (o[l] + c.offset));
    }
    for (long k = 0; k + 1 < layers; k++) {
        const long l = c.order[k];
        const V slope = g[1 + k] / (c.offset + sums[l] + (outside ? V(o[l]) : zero));
        by[l] += slope;
        if (outside) go.set(l, go[l] + slope);
    }
    for (long l = 0; l < layers; l++) {
        const Layer<V> s = summed(c, e, l);
        const long at = each + 7 * l;
        V mean[2], variance[2], all = by[l];
        for (int axis = 0; axis < 2; axis++) {
            const V whole_share = s.total * s.inverse;
            variance[axis] = g[at + 2 * axis + 1] / (2 * root(V(s.variance[axis] + c.floors[l])));
            mean[axis] = g[at + 2 * axis] - 2 * variance[axis] * s.mean[axis] * (1 - whole_share);
            all -= s.inverse * (mean[axis] * s.mean[axis] + variance[axis] * s.variance[axis]);
        }
        const V size = s.first + s.second + tiny, ratio = g[at + 6] / (size * size);
        all -= s.inverse * s.inverse * g[at + 5] * s.first;
        const V by_first = g[at + 5] * s.inverse + ratio * (2 * s.second + tiny), by_second = -ratio * (2 * s.first + tiny);
        const float soft = c.softness > 0 ? 1 / c.softness : 0;
        const V occupancy = g[at + 4] * (soft / float(c.first[l + 1] - c.first[l]));
        const bool two = c.first[l + 1] - c.first[l] > 1;
        for (long k = c.first[l]; k < c.first[l + 1]; k++) {
            const V dx = c.x[k] - s.mean[0], dy = c.y[k] - s.mean[1], value = e[k];
            V sum = all + g[logs + k] / (value + c.offset);
            sum += s.inverse * (mean[0] * c.x[k] + variance[0] * dx * dx + mean[1] * c.y[k] + variance[1] * dy * dy);
            if (soft > 0) sum += occupancy * exponential(V(-value * soft));
            const I here = I{} + int(k);
            sum += s.brightest == here ? by_first : zero;
            if (two) sum += s.other == here ? by_second : zero;
            ge.set(k, sum);
        }
    }
}

// Call a function for each vector of events, shared by threads, and for each event of the rest.
template <typename F> void each_event(long batch, Parallel parallel, int threads, F function) {
    constexpr long together = 4 * lanes;
    share((batch + together - 1) / together, parallel, threads, [&](long task) {
        const long end = lower((task + 1) * together, batch);
        long b = task * together;
        for (; b + lanes <= end; b += lanes) function(b, vector{});
        for (; b < end; b++) function(b, 0.0f);
    });
}

}  // namespace

extern "C" {

void shower_energies(const Calorimeter *c, const float *logs, const float *incident, float *cells, float *overflow,
                     float *raw, float *factors, Parallel parallel, int threads) {
    each_event(c->batch, parallel, threads, [&](long b, auto kind) {
        energies<decltype(kind)>(*c, logs, incident, cells, overflow, raw, factors, b);
    });
}

void shower_energies_gradient(const Calorimeter *c, const float *logs, const float *incident, const float *cells,
                              const float *overflow, const float *raw, const float *factors, float *gradient,
                              Parallel parallel, int threads) {
    each_event(c->batch, parallel, threads, [&](long b, auto kind) {
        energies_gradient<decltype(kind)>(*c, logs, incident, cells, overflow, raw, factors, gradient, b);
    });
}

void shower_features(const Calorimeter *c, const float *cells, const float *overflow, const float *incident,
                     float *result, Parallel parallel, int threads) {
    each_event(c->batch, parallel, threads, [&](long b, auto kind) {
        features<decltype(kind)>(*c, cells, overflow, incident, result, b);
    });
}

void shower_features_gradient(const Calorimeter *c, const float *cells, const float *overflow, const float *incident,
                              const float *cotangent, float *by_cells, float *by_overflow, Parallel parallel,
                              int threads) {
    each_event(c->batch, parallel, threads, [&](long b, auto kind) {
        features_gradient<decltype(kind)>(*c, cells, overflow, incident, cotangent, by_cells, by_overflow, b);
    });
}

// Rows x (variables, batch) less a mean, over a spread, which are sums of the nodes of tables (nodes, variables) with
// weights (nodes, batch); and, where it is wanted, one over the spread.
void standardised(long variables, long batch, long nodes, const float *x, const float *basis, const float *mean,
                  const float *scale, float *value, float *slope, Parallel parallel, int threads) {
    share(variables, parallel, threads, [&](long v) {
        blocks(0, batch, [&](long b, auto kind) {
            using V = typename decltype(kind)::type;
            for (int n = 0; n < decltype(kind)::n; n++) {
                const long e = b + n * width_of<V>, at = v * batch + e;
                V middle{}, spread{};
                for (long k = 0; k < nodes; k++) {
                    const V weight = load<V>(basis + k * batch + e);
                    middle += mean[k * variables + v] * weight;
                    spread += scale[k * variables + v] * weight;
                }
                const V inverse = 1.0f / spread;
                store(value + at, V((load<V>(x + at) - middle) * inverse));
                if (slope) store(slope + at, inverse);
            }
        });
    });
}
}
