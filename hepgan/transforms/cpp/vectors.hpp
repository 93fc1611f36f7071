// Vectors of events, blocks of them, and the threads of the caller: what all kernels share.
#pragma once

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
