// Vectors of events, blocks of them, and the threads of the caller: what all kernels share.
#pragma once

#include <initializer_list>

namespace {

#ifdef __AVX512F__
constexpr int lanes = 16, across = 4;  // floats of a vector; vectors of events whose sums are in registers at once
#else
constexpr int lanes = 8, across = 2;
#endif

typedef float vector __attribute__((vector_size(4 * lanes)));

template <typename V> constexpr long width_of = sizeof(V) / sizeof(float);

// Vectors in memory, which need not be aligned.
template <typename V> struct __attribute__((packed, aligned(4), may_alias)) Loose { V value; };
template <typename V> inline V load(const float *from) { return ((const Loose<V> *)from)->value; }
template <typename V> inline void store(float *to, V value) { ((Loose<V> *)to)->value = value; }

inline long lower(long a, long b) { return a < b ? a : b; }
inline long upper(long a, long b) { return a > b ? a : b; }

// Kinds of blocks, as types: N vectors of events, or one event.
template <int N> struct Vectors { static constexpr int n = N; using type = vector; };
struct Number { static constexpr int n = 1; using type = float; };

// Visit the events begin..end in blocks: function(b, kind).
template <typename F> inline void blocks(long begin, long end, F function) {
    long b = begin;
    for (; b + across * lanes <= end; b += across * lanes) function(b, Vectors<across>());
    for (; b + lanes <= end; b += lanes) function(b, Vectors<1>());
    for (; b < end; b++) function(b, Number());
}

typedef float eight __attribute__((vector_size(32)));
typedef float four __attribute__((vector_size(16)));

// Sum of a vector, in a fixed order: halves are added until one number is left.
inline float total(vector a) {
    float numbers[lanes], parts[8], rest[4];
    store(numbers, a);
    eight sum = load<eight>(numbers);
    for (int k = 8; k < lanes; k += 8) sum += load<eight>(numbers + k);
    store(parts, sum);
    store(rest, four(load<four>(parts) + load<four>(parts + 4)));
    return (rest[0] + rest[2]) + (rest[1] + rest[3]);
}

// -- functions of a vector, or of one number: exp by its series after the power of two

typedef int whole __attribute__((vector_size(4 * lanes)));

inline float power(int n) {
    union { int bits; float number; } two = {(n + 127) << 23};
    return two.number;
}
inline vector power(whole n) { return (vector)((n + 127) << 23); }
inline int rounded(float x) { return int(x < 0 ? x - 0.5f : x + 0.5f); }
inline whole rounded(vector x) { return __builtin_convertvector(x < 0 ? x - 0.5f : x + 0.5f, whole); }
inline float real(int n) { return float(n); }
inline vector real(whole n) { return __builtin_convertvector(n, vector); }

template <typename V> inline V larger(V a, V b) { return a > b ? a : b; }
template <typename V> inline V smaller(V a, V b) { return a < b ? a : b; }

template <typename V> inline V exponential(V x) {
    x = larger(smaller(x, V{} + 88.0f), V{} - 87.0f);
    const auto n = rounded(x * 1.44269504f);
    const V r = (x - real(n) * 0.693145752f) - real(n) * 1.42860677e-6f;
    V sum = V{} + 1.0f / 5040;
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) sum = sum * r + c;
    return sum * power(n);
}

// Pool of threads of the caller (GOMP_parallel), or none.
using Parallel = void (*)(void (*)(void *), void *, unsigned, unsigned);

template <typename F> struct Task {
    F *function;
    long n;
    long next;
};

template <typename F> void take(void *data) {
    auto *task = (Task<F> *)data;
    for (long k; (k = __atomic_fetch_add(&task->next, 1, __ATOMIC_RELAXED)) < task->n;) (*task->function)(k);
}

template <typename F> void share(long n, Parallel parallel, int threads, F function) {
    Task<F> task{&function, n, 0};
    if (parallel && threads > 1) parallel(take<F>, &task, threads, 0);
    else take<F>(&task);
}

}  // namespace
