// Tracks on CPUs: tent functions, sums over features that are mostly zero, whitening, and the energy score; with their
// derivatives. The formulas are those of `Tents`, `Whitening` and `energy_score`. Features are (B, F); other arrays are
// (rows, B), the batch innermost.

#include <cmath>
#include <vector>

#include "vectors.hpp"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr long events = 64;  // of a block

// The features of an event that are not zero: their places, of which there are `found`.
struct Present {
    std::vector<int> places;
    long found;

    explicit Present(long n) : places(n + 16) {}

    void of(const float *x, long n) {
        found = 0;
        long k = 0;
#ifdef __AVX512F__
        const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (; k + 16 <= n; k += 16) {
            const __mmask16 bits = _mm512_cmp_ps_mask(_mm512_loadu_ps(x + k), _mm512_setzero_ps(), _CMP_NEQ_UQ);
            const __m512i some = _mm512_maskz_compress_epi32(bits, _mm512_add_epi32(first, _mm512_set1_epi32(int(k))));
            _mm512_storeu_si512(places.data() + found, some);
            found += __builtin_popcount(bits);
        }
#endif
        for (; k < n; k++) {
            places[found] = int(k);
            found += x[k] != 0;
        }
    }
};

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

// -- products of matrices

inline long whole_vectors(long n) { return (n + lanes - 1) / lanes * lanes; }

// Turn (rows, columns): to[c * to_pitch + r] = from[r * pitch + c]. Numbers of the larger array are visited in its order.
inline void turn(const float *from, long rows, long columns, long pitch, float *to, long to_pitch) {
    if (pitch < to_pitch)
        for (long c = 0; c < columns; c++)
            for (long r = 0; r < rows; r++) to[c * to_pitch + r] = from[r * pitch + c];
    else
        for (long r = 0; r < rows; r++)
            for (long c = 0; c < columns; c++) to[c * to_pitch + r] = from[r * pitch + c];
}

inline void copy(const float *from, long rows, long columns, long pitch, float *to, long to_pitch) {
    for (long r = 0; r < rows; r++) __builtin_memcpy(to + r * to_pitch, from + r * pitch, columns * sizeof(float));
}

// Add weights (n, padded) times the present features x of an event to sums (padded).
inline void add_features(const Present &present, const float *x, const float *weights, long padded, float *sums) {
    for (long k = 0; k < padded; k += lanes) {
        vector sum = load<vector>(sums + k);
        for (long f = 0; f < present.found; f++) {
            const long place = present.places[f];
            sum += x[place] * load<vector>(weights + place * padded + k);
        }
        store(sums + k, sum);
    }
}

// A matrix whose element (r, i) is at from[r * row + i * column].
struct Matrix {
    const float *from;
    long row, column;
};

template <int R, int K, typename F> inline void tile(long row, Matrix a, long n, const float *b, long pitch, long column, F done) {
    vector sum[R][K];
    for (int r = 0; r < R; r++)
        for (int k = 0; k < K; k++) sum[r][k] = vector{};
    const float *from = a.from + row * a.row;
    b += column;
    for (long i = 0; i < n; i++, b += pitch, from += a.column) {
        vector values[K];
        for (int k = 0; k < K; k++) values[k] = load<vector>(b + k * lanes);
        for (int r = 0; r < R; r++)
            for (int k = 0; k < K; k++) sum[r][k] += from[r * a.row] * values[k];
    }
    for (int r = 0; r < R; r++)
        for (int k = 0; k < K; k++) done(row + r, column + k * lanes, sum[r][k]);
}

template <int K, typename F>
inline void tiles(long rows, Matrix a, long n, const float *b, long pitch, long column, F done) {
    long r = 0;
    for (; r + 6 <= rows; r += 6) tile<6, K>(r, a, n, b, pitch, column, done);
    for (; r + 4 <= rows; r += 4) tile<4, K>(r, a, n, b, pitch, column, done);
    for (; r < rows; r++) tile<1, K>(r, a, n, b, pitch, column, done);
}

// Matrix a (rows, n) times b (n, columns), where columns are whole vectors: done(row, column, vector) takes the results.
template <typename F>
inline void product(long rows, long columns, long n, Matrix a, const float *b, long pitch, F done) {
    for (long c = 0; c < columns; c += across * lanes) {
        switch (lower(across, (columns - c) / lanes)) {
        case 1: tiles<1>(rows, a, n, b, pitch, c, done); break;
        case 2: tiles<2>(rows, a, n, b, pitch, c, done); break;
        case 3: tiles<3>(rows, a, n, b, pitch, c, done); break;
        default: tiles<across>(rows, a, n, b, pitch, c, done);
        }
    }
}

// What takes the results of a product: writes them, or adds them, to rows.
inline auto written(float *to, long pitch) {
    return [=](long row, long column, vector sum) { store(to + row * pitch + column, sum); };
}
inline auto added(float *to, long pitch) {
    return [=](long row, long column, vector sum) {
        float *place = to + row * pitch + column;
        store(place, load<vector>(place) + sum);
    };
}

template <typename V> inline V root(V x) {
    for (int k = 0; k < int(sizeof(V) / sizeof(float)); k++) ((float *)&x)[k] = std::sqrt(((float *)&x)[k]);
    return x;
}

template <typename V> inline V magnitude(V x) { return x > 0 ? x : -x; }
template <typename V> inline V sign(V x) { return (x > 0 ? V{} + 1 : V{}) - (x < 0 ? V{} + 1 : V{}); }

// -- residual networks, events by events: the numbers of a layer of one event are neighbours

}  // namespace

extern "C" {

// A network: columns begins..begins+context of the first weights are for the context of an event, the others for x.
struct Residual {
    long inputs, context, begins, width, depth, outputs, batch, pitch;  // pitch: of x (inputs, batch)
    float slope;
};

}

namespace {

using Numbers = std::vector<float>;

// Weights with rows of whole vectors; `turned` are those of a forward pass, (sources, outputs of the layer).
struct Weights {
    long inputs, width, outputs;
    Numbers context, x, bias, last, last_bias;
    std::vector<Numbers> blocks, biases;

    explicit Weights(const Residual &n)
        : inputs(whole_vectors(n.inputs)), width(whole_vectors(n.width)), outputs(whole_vectors(n.outputs)),
          context(n.context * width), bias(width), last_bias(outputs), blocks(n.depth, Numbers(width * width)),
          biases(n.depth, Numbers(width)) {}
};

// Columns of x among those of the first layer, in runs: function(column of x, column of all, how many).
template <typename F> inline void columns(const Residual &n, F function) {
    function(0, 0, lower(n.begins, n.inputs));
    if (n.inputs > n.begins) function(n.begins, n.begins + n.context, n.inputs - n.begins);
}

inline Weights weights_of(const Residual &n, const float *const *parameters, bool turned) {
    Weights w(n);
    const long all = n.inputs + n.context;
    w.x.resize(turned ? n.inputs * w.width : w.width * w.inputs);
    w.last.resize(turned ? w.width * w.outputs : w.outputs * w.width);
    const auto take = turned ? turn : copy;
    columns(n, [&](long to, long from, long size) {
        take(parameters[0] + from, n.width, size, all, w.x.data() + (turned ? to * w.width : to),
             turned ? w.width : w.inputs);
    });
    if (turned) turn(parameters[0] + n.begins, n.width, n.context, all, w.context.data(), w.width);
    copy(parameters[1], 1, n.width, n.width, w.bias.data(), w.width);
    for (long k = 0; k < n.depth; k++) {
        take(parameters[2 + 2 * k], n.width, n.width, n.width, w.blocks[k].data(), w.width);
        copy(parameters[3 + 2 * k], 1, n.width, n.width, w.biases[k].data(), w.width);
    }
    take(parameters[2 + 2 * n.depth], n.outputs, n.width, n.width, w.last.data(), turned ? w.outputs : w.width);
    copy(parameters[3 + 2 * n.depth], 1, n.outputs, n.outputs, w.last_bias.data(), w.outputs);
    return w;
}

}  // namespace

extern "C" {

// Outputs (outputs, B) of x (inputs, B) and contexts (B, context); `kept` gets the numbers behind each layer,
// (blocks, depth + 1, 64, width), where width is of whole vectors.
void residual_outputs(const Residual *network, const float *const *parameters, const float *x, const float *context,
                      float *to, float *kept, Parallel parallel, int threads) {
    const Residual &n = *network;
    const Weights w = weights_of(n, parameters, true);
    const long layer = events * w.width;
    each_block(n.batch, parallel, threads, [&](long begin, long end) {
        const long rows = end - begin;
        Numbers turned(events * w.inputs), sums(events * w.outputs);
        float *h = kept + begin / events * (n.depth + 1) * layer;
        turn(x + begin, n.inputs, rows, n.pitch, turned.data(), w.inputs);
        Present present(n.context);
        for (long e = 0; e < rows; e++) {
            const float *own = context + (begin + e) * n.context;
            present.of(own, n.context);
            copy(w.bias.data(), 1, w.width, 0, h + e * w.width, 0);
            add_features(present, own, w.context.data(), w.width, h + e * w.width);
        }
        product(rows, w.width, n.inputs, {turned.data(), w.inputs, 1}, w.x.data(), w.width,
                [&](long row, long column, vector sum) {
                    float *place = h + row * w.width + column;
                    const vector y = load<vector>(place) + sum;
                    store(place, y > 0 ? y : n.slope * y);
                });
        for (long k = 0; k < n.depth; k++, h += layer)
            product(rows, w.width, n.width, {h, w.width, 1}, w.blocks[k].data(), w.width,
                    [&](long row, long column, vector sum) {
                        const float *place = h + row * w.width + column;
                        const vector y = sum + load<vector>(w.biases[k].data() + column);
                        store((float *)place + layer, load<vector>(place) + (y > 0 ? y : n.slope * y));
                    });
        product(rows, w.outputs, n.width, {h, w.width, 1}, w.last.data(), w.outputs, written(sums.data(), w.outputs));
        for (long k = 0; k < n.outputs; k++)
            for (long e = 0; e < rows; e++) to[k * n.batch + begin + e] = sums[e * w.outputs + k] + w.last_bias[k];
    });
}

// Derivatives of a sum of outputs, with factors g (outputs, B): by x (inputs, B), and by all parameters, where these are
// not null. With a direction (inputs, B): in place of the latter the derivatives, by all weights, of the product of the
// former with the direction.
void residual_gradient(const Residual *network, const float *const *parameters, const float *x, const float *context,
                       const float *kept, const float *g, const float *direction, float *by_x, float *const *gradients,
                       Parallel parallel, int threads) {
    const Residual &n = *network;
    const Weights w = weights_of(n, parameters, false), forward = direction ? weights_of(n, parameters, true) : Weights(n);
    const long layer = events * w.width, blocks = (n.batch + events - 1) / events;
    constexpr long most = 4;  // parts of a batch, each with its own sums: their order is fixed
    const long each = upper(1, (blocks + most - 1) / most), parts = (blocks + each - 1) / each;
    std::vector<Weights> sums(parts, Weights(n));
    share(parts, parallel, threads, [&](long part) {
        Weights &sum = sums[part];
        sum.x.resize(w.width * w.inputs), sum.last.resize(w.outputs * w.width);
        Numbers values(events * w.inputs), out(events * w.outputs), slopes(layer), under(layer), next(layer), along;
        if (direction) along.resize((n.depth + 1) * layer);
        for (long begin = part * each * events; begin < lower(n.batch, (part + 1) * each * events); begin += events) {
            const long rows = lower(events, n.batch - begin);
            const float *h = kept + begin / events * (n.depth + 1) * layer;
            // a vector y, times the slope where the curve of layer k has it
            const auto sloped = [&](long k, long row, long column, vector y) {
                const float *place = h + k * layer + row * w.width + column;
                return load<vector>(place) > (k ? load<vector>(place - layer) : vector{}) ? y : n.slope * y;
            };
            const float *source = h;
            if (gradients) turn((direction ? direction : x) + begin, n.inputs, rows, direction ? n.batch : n.pitch,
                                values.data(), w.inputs);
            if (direction) {
                float *d = along.data();
                product(rows, w.width, n.inputs, {values.data(), w.inputs, 1}, forward.x.data(), w.width,
                        [&](long row, long column, vector sum) {
                            store(d + row * w.width + column, sloped(0, row, column, sum));
                        });
                for (long k = 0; k < n.depth; k++, d += layer)
                    product(rows, w.width, n.width, {d, w.width, 1}, forward.blocks[k].data(), w.width,
                            [&](long row, long column, vector sum) {
                                float *place = d + row * w.width + column;
                                store(place + layer, load<vector>(place) + sloped(k + 1, row, column, sum));
                            });
                source = along.data();
            }
            turn(g + begin, n.outputs, rows, n.batch, out.data(), w.outputs);
            // of a layer with cotangents (rows, size) under its curve, and sources (rows, pitch)
            const auto add = [&](Numbers &weights, Numbers &bias, const float *cotangents, long size, long padded,
                                 const float *from, long pitch) {
                product(size, pitch, rows, {cotangents, 1, padded}, from, pitch, added(weights.data(), pitch));
                static const float one = 1;
                product(1, padded, rows, {&one, 0, 0}, cotangents, padded, added(bias.data(), padded));
            };
            if (gradients) add(sum.last, sum.last_bias, out.data(), n.outputs, w.outputs, source + n.depth * layer, w.width);
            // cotangents behind the sum of layer k, and from them those under its curve
            const auto take = [&](long k, bool first) {
                return [&, k, first](long row, long column, vector sum) {
                    float *place = slopes.data() + row * w.width + column;
                    if (!first) sum += load<vector>(place);
                    store(place, sum);
                    store(next.data() + row * w.width + column, sloped(k, row, column, sum));
                };
            };
            product(rows, w.width, n.outputs, {out.data(), w.outputs, 1}, w.last.data(), w.width, take(n.depth, true));
            under.swap(next);
            for (long k = n.depth; k > 0; k--) {
                if (gradients)
                    add(sum.blocks[k - 1], sum.biases[k - 1], under.data(), n.width, w.width, source + (k - 1) * layer, w.width);
                product(rows, w.width, n.width, {under.data(), w.width, 1}, w.blocks[k - 1].data(), w.width, take(k - 1, false));
                under.swap(next);
            }
            if (by_x) {
                Numbers made(events * w.inputs);
                product(rows, w.inputs, n.width, {under.data(), w.width, 1}, w.x.data(), w.inputs, written(made.data(), w.inputs));
                turn(made.data(), rows, n.inputs, w.inputs, by_x + begin, n.batch);
            }
            if (!gradients) continue;
            add(sum.x, sum.bias, under.data(), n.width, w.width, values.data(), w.inputs);
            if (direction) continue;
            Present present(n.context);
            for (long e = 0; e < rows; e++) {
                const float *own = context + (begin + e) * n.context;
                present.of(own, n.context);
                for (long k = 0; k < w.width; k += lanes) {
                    const vector value = load<vector>(under.data() + e * w.width + k);
                    for (long f = 0; f < present.found; f++) {
                        float *to = sum.context.data() + present.places[f] * w.width + k;
                        store(to, load<vector>(to) + own[present.places[f]] * value);
                    }
                }
            }
        }
    });
    if (!gradients) return;
    const auto gather = [&](auto member) {  // sums of all parts, in the first one
        Numbers &to = member(sums[0]);
        for (long part = 1; part < parts; part++)
            for (std::size_t k = 0; k < to.size(); k++) to[k] += member(sums[part])[k];
        return to.data();
    };
    const auto bias = [&](float *to, long size, auto member) {
        if (direction) __builtin_memset(to, 0, size * sizeof(float));
        else copy(gather(member), 1, size, 0, to, 0);
    };
    const long all = n.inputs + n.context;
    const float *own = gather([](Weights &s) -> Numbers & { return s.x; });
    columns(n, [&](long from, long to, long size) { copy(own + from, n.width, size, w.inputs, gradients[0] + to, all); });
    turn(gather([](Weights &s) -> Numbers & { return s.context; }), n.context, n.width, w.width, gradients[0] + n.begins, all);
    bias(gradients[1], n.width, [](Weights &s) -> Numbers & { return s.bias; });
    for (long k = 0; k < n.depth; k++) {
        copy(gather([k](Weights &s) -> Numbers & { return s.blocks[k]; }), n.width, n.width, w.width, gradients[2 + 2 * k], n.width);
        bias(gradients[3 + 2 * k], n.width, [k](Weights &s) -> Numbers & { return s.biases[k]; });
    }
    copy(gather([](Weights &s) -> Numbers & { return s.last; }), n.outputs, n.width, w.width, gradients[2 + 2 * n.depth], n.width);
    bias(gradients[3 + 2 * n.depth], n.outputs, [](Weights &s) -> Numbers & { return s.last_bias; });
}

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

// Sums (outputs, B) of features (B, n), most of which are zero, times weights (outputs, n).
void sparse_sums(long outputs, long n, long batch, const float *weights, const float *x, float *to, Parallel parallel,
                 int threads) {
    const long padded = whole_vectors(outputs);
    std::vector<float> turned(n * padded);
    turn(weights, outputs, n, n, turned.data(), padded);
    each_block(batch, parallel, threads, [&](long begin, long end) {
        std::vector<float> sums(events * padded);
        Present present(n);
        for (long e = begin; e < end; e++) {
            present.of(x + e * n, n);
            add_features(present, x + e * n, turned.data(), padded, sums.data() + (e - begin) * padded);
        }
        turn(sums.data(), end - begin, outputs, padded, to + begin, batch);
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
// derivatives by both generated ones. Squared distances up to `least` count as zero.
void energy_score(long n, long batch, float least, const float *real, const float *fake, const float *other,
                  const float *weights, float *scores, float *by_fake, float *by_other, Parallel parallel, int threads) {
    each_block(batch, parallel, threads, [&](long begin, long end) {
        vectors(begin, end, [&](long e, auto kind) {
            using V = decltype(kind);
            const auto at = [&](const float *array, long row) { return load<V>(array + row * batch + e); };
            V a = {}, b = {}, c = {}, each = {};
            for (long k = 0; k < n; k++) {
                const V x = at(real, k), y = at(fake, k), z = at(other, k);
                a += (x - y) * (x - y), b += (x - z) * (x - z), c += (y - z) * (y - z);
                each += magnitude(x - y) + magnitude(x - z) - magnitude(y - z);
            }
            const auto length = [&](V square) { return square > least ? root(square) : V{}; };
            const auto inverse = [&](V square) { return square > least ? 1 / length(square) : V{}; };
            const V weight = load<V>(weights + e);
            store(scores + e, weight * (length(a) + length(b) - length(c) + each));
            if (!by_fake) return;
            a = inverse(a), b = inverse(b), c = inverse(c);
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
