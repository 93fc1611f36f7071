// Locally connected layers on CPUs: T(x, w, g) = sum of g * layer(x, w) is linear in x, w and g; here are its derivatives.
//
// Shapes, batch innermost: x (H, W, C, B), w (H', kh, W', O, kw, C), g and y (H', W', O, B). Padding is virtual: windows
// are cut at the edges of the image. Every sum has a fixed order, whatever the number of threads.

#include "vectors.hpp"

namespace {

constexpr int down = 4;     // outputs or channels whose sums are in registers at once
constexpr int chunk = 64;  // events whose rows of an image fit into the cache

constexpr int most = 8;         // parts of an input
constexpr int most_taps = 256;  // places of a window

struct Shape {
    long height, width, channels;               // of the input
    long rows, columns, outputs;                // of the output
    long kernel_height, kernel_width, stride_h, stride_w, pad_h, pad_w;
    long batch;
    long parts, part[most];                     // the channels may be split over several tensors: how many each has
};

// D rows, as a type.
template <int D> struct Rows { static constexpr int n = D; };

// Visit rows 0..n in groups: function(o, rows).
template <typename F> inline void groups(long n, F function) {
    long o = 0;
    for (; o + down <= n; o += down) function(o, Rows<down>());
    for (; o + 2 <= n; o += 2) function(o, Rows<2>());
    for (; o < n; o++) function(o, Rows<1>());
}

// Layer itself: y = layer(x, w) + bias, times `slope` where y, or else the number of `sign` in its place, is negative.
template <typename Kind, int D>
inline void output(const Shape &s, const float *const *x, const float *w, const float *bias, float slope, const float *sign,
                   float *y, long h,
                   long v, long o, long b) {
    using V = typename Kind::type;
    constexpr int N = Kind::n;
    V sums[D][N];
    const long place = h * s.columns + v;
    for (int d = 0; d < D; d++)
        for (int n = 0; n < N; n++) sums[d][n] = V{} + (bias ? bias[place * s.outputs + o + d] : 0.0f);
    const long left = v * s.stride_w - s.pad_w, length = s.kernel_width * s.channels;
    const long first = upper(0, -left), last = lower(s.kernel_width, s.width - left);
    for (long i = 0; i < s.kernel_height; i++) {
        const long row = h * s.stride_h + i - s.pad_h;
        if (row < 0 || row >= s.height) continue;
        const float *weight = w + (((h * s.kernel_height + i) * s.columns + v) * s.outputs + o) * length;
        for (long p = 0; p < s.parts; weight += s.part[p++]) {
            const long channels = s.part[p];
            const float *input = x[p] + (row * s.width + left) * channels * s.batch + b;
            for (long j = first; j < last; j++)
                for (long c = 0; c < channels; c++) {
                    const float *from = input + (j * channels + c) * s.batch, *factor = weight + j * s.channels + c;
                    V values[N];
                    for (int n = 0; n < N; n++) values[n] = load<V>(from + n * width_of<V>);
                    for (int d = 0; d < D; d++)
                        for (int n = 0; n < N; n++) sums[d][n] += factor[d * length] * values[n];
                }
        }
    }
    for (int d = 0; d < D; d++)
        for (int n = 0; n < N; n++) {
            V value = sums[d][n];
            const long at = (place * s.outputs + o + d) * s.batch + b;
            if (slope != 1) {
                const V side = sign ? load<V>(sign + at + n * width_of<V>) : value;
                value = side > 0 ? value : slope * value;
            }
            store(y + at + n * width_of<V>, value);
        }
}

// A place of a window that an input takes part in: its weights, and the outputs of that window.
struct Tap {
    const float *weight, *cotangent;
};

// Gradient of the input: x = the sum over taps and outputs of w * g, for D channels of one cell.
template <typename Kind, int D>
inline void input(const Shape &s, const Tap *taps, long n_taps, float *x, long channel, long b) {
    using V = typename Kind::type;
    constexpr int N = Kind::n;
    V sums[D][N];
    for (int d = 0; d < D; d++)
        for (int n = 0; n < N; n++) sums[d][n] = V{};
    const long pitch = s.kernel_width * s.channels;
    for (long t = 0; t < n_taps; t++) {
        const float *weight = taps[t].weight + channel, *cotangent = taps[t].cotangent + b;
        for (long o = 0; o < s.outputs; o++, weight += pitch, cotangent += s.batch) {
            V values[N];
            for (int n = 0; n < N; n++) values[n] = load<V>(cotangent + n * width_of<V>);
            for (int d = 0; d < D; d++)
                for (int n = 0; n < N; n++) sums[d][n] += weight[d] * values[n];
        }
    }
    for (int d = 0; d < D; d++)
        for (int n = 0; n < N; n++) store(x + (channel + d) * s.batch + b + n * width_of<V>, sums[d][n]);
}

// Gradient of the weight: D outputs times K inputs of a window, whose weights are at `place`; events are summed over.
template <int D, int K>
inline void weight(const Shape &s, const float *x, const float *g, float *w, const long *place) {
    const long length = s.kernel_width * s.channels;
    vector sums[D][K];
    for (int d = 0; d < D; d++)
        for (int k = 0; k < K; k++) sums[d][k] = vector{};
    long b = 0;
    for (; b + lanes <= s.batch; b += lanes) {
        vector a[D], c[K];
        for (int d = 0; d < D; d++) a[d] = load<vector>(g + d * s.batch + b);
        for (int k = 0; k < K; k++) c[k] = load<vector>(x + k * s.batch + b);
        for (int d = 0; d < D; d++)
            for (int k = 0; k < K; k++) sums[d][k] += a[d] * c[k];
    }
    for (int d = 0; d < D; d++)
        for (int k = 0; k < K; k++) {
            float sum = total(sums[d][k]);
            for (long e = b; e < s.batch; e++) sum += g[d * s.batch + e] * x[k * s.batch + e];
            w[d * length + place[k]] = sum;
        }
}

// One row of the image of the output, for the events begin..end.
inline void output_row(const Shape &s, const float *const *x, const float *w, const float *bias, float slope,
                       const float *sign, float *y, long h, long begin, long end) {
    for (long v = 0; v < s.columns; v++)
        groups(s.outputs, [&](long o, auto rows) {
            blocks(begin, end, [&](long b, auto kind) {
                output<decltype(kind), decltype(rows)::n>(s, x, w, bias, slope, sign, y, h, v, o, b);
            });
        });
}

// One row of the image of the gradient of the input, for the events begin..end.
inline void input_row(const Shape &s, const float *g, const float *w, float *const *x, long r, long begin, long end) {
    for (long c = 0; c < s.width; c++) {
        Tap taps[most_taps];
        long n = 0;
        for (long i = 0; i < s.kernel_height; i++) {
            const long from = r + s.pad_h - i, h = from / s.stride_h;
            if (from < 0 || from != h * s.stride_h || h >= s.rows) continue;
            for (long j = 0; j < s.kernel_width; j++) {
                const long side = c + s.pad_w - j, v = side / s.stride_w;
                if (side < 0 || side != v * s.stride_w || v >= s.columns) continue;
                const long place = ((h * s.kernel_height + i) * s.columns + v) * s.outputs * s.kernel_width + j;
                taps[n++] = {w + place * s.channels, g + (h * s.columns + v) * s.outputs * s.batch};
            }
        }
        for (long p = 0; p < s.parts; p++) {
            if (x[p])
                groups(s.part[p], [&](long channel, auto rows) {
                    float *to = x[p] + (r * s.width + c) * s.part[p] * s.batch;
                    blocks(begin, end, [&](long b, auto kind) {
                        input<decltype(kind), decltype(rows)::n>(s, taps, n, to, channel, b);
                    });
                });
            for (long t = 0; t < n; t++) taps[t].weight += s.part[p];
        }
    }
}

// Gradient of the weights of one cell of the output.
inline void weight_cell(const Shape &s, const float *const *x, const float *g, float *w, long task) {
    const long length = s.kernel_width * s.channels;
    const long h = task / s.columns, v = task % s.columns;
    const long left = v * s.stride_w - s.pad_w;
    const long first = upper(0, -left), last = lower(s.kernel_width, s.width - left);
    for (long i = 0; i < s.kernel_height; i++) {
        const long row = h * s.stride_h + i - s.pad_h;
        float *to = w + ((h * s.kernel_height + i) * s.columns + v) * s.outputs * length;
        const bool inside = row >= 0 && row < s.height;
        if (!inside || first > 0 || last < s.kernel_width)
            for (long k = 0; k < s.outputs * length; k++) to[k] = 0;
        if (!inside) continue;
        groups(s.outputs, [&](long o, auto group) {
            constexpr int D = decltype(group)::n;
            const float *cotangent = g + (task * s.outputs + o) * s.batch;
            long place[down];
            for (long p = 0, skipped = 0; p < s.parts; skipped += s.part[p++]) {
                const long channels = s.part[p], from_left = (row * s.width + left + first) * channels;
                const float *from = x[p] + from_left * s.batch;
                // a window is one block of rows of each part; its weights are not
                const long n = (last - first) * channels;
                float *base = to + o * length + skipped;
                groups(n, [&](long k, auto some) {
                    constexpr int K = decltype(some)::n;
                    for (int m = 0; m < K; m++) {
                        const long j = (k + m) / channels;
                        place[m] = (first + j) * s.channels + (k + m) - j * channels;
                    }
                    weight<D, K>(s, from + k * s.batch, cotangent, base, place);
                });
            }
        });
    }
}

// Cotangent under the leaky ReLU of one row of numbers: g times `slope` where y is negative; returns its sum.
inline float masked(const float *g, const float *y, float slope, float *to, long begin, long end) {
    vector sums = vector{};
    float rest = 0;
    long b = begin;
    for (; b + lanes <= end; b += lanes) {
        const vector a = load<vector>(g + b), value = load<vector>(y + b) > 0 ? a : slope * a;
        store(to + b, value);
        sums += value;
    }
    for (; b < end; b++) rest += to[b] = y[b] > 0 ? g[b] : slope * g[b];
    return total(sums) + rest;
}

}  // namespace

extern "C" {

void layer_output(const Shape *shape, const float *const *x, const float *w, const float *bias, float slope,
                  const float *sign, float *y, Parallel parallel, int threads) {
    const Shape s = *shape;
    const long chunks = (s.batch + chunk - 1) / chunk;
    share(chunks * s.rows, parallel, threads, [&](long task) {
        const long begin = task / s.rows * chunk;
        output_row(s, x, w, bias, slope, sign, y, task % s.rows, begin, lower(begin + chunk, s.batch));
    });
}

void layer_cotangent(long n, long batch, const float *g, const float *y, float slope, float *to, float *bias,
                     Parallel parallel, int threads) {
    share(n, parallel, threads, [&](long k) {
        bias[k] = masked(g + k * batch, y + k * batch, slope, to + k * batch, 0, batch);
    });
}

void layer_input(const Shape *shape, const float *g, const float *w, float *const *x, Parallel parallel, int threads) {
    const Shape s = *shape;
    const long chunks = (s.batch + chunk - 1) / chunk;
    share(chunks * s.height, parallel, threads, [&](long task) {
        const long begin = task / s.height * chunk;
        input_row(s, g, w, x, task % s.height, begin, lower(begin + chunk, s.batch));
    });
}

void layer_weight(const Shape *shape, const float *const *x, const float *g, float *w, Parallel parallel, int threads) {
    const Shape s = *shape;
    share(s.rows * s.columns, parallel, threads, [&](long task) { weight_cell(s, x, g, w, task); });
}
}
