// Counter-based noise for many tracks at once, equal in every bit to hepgan/inference/noise.py, which has the specification.

#include <cstdint>
#include <cstring>

namespace {

using word = std::uint64_t;

constexpr word multipliers[2] = {0xD2E7470EE14C6C93u, 0xCA5A826395121157u};
constexpr word weyl[2] = {0x9E3779B97F4A7C15u, 0xBB67AE8584CAA73Bu};
constexpr int rounds = 10, knot_bits = 7, fraction_bits = 52 - knot_bits;
constexpr word first_knot = word(1023 - 1) << knot_bits;  // leading bits of 1/2, the smallest 2^32 p
constexpr long most = 256;  // numbers that stay in the first cache

/// Philox4x64-10: four words of a counter and a key.
inline void philox(word a, word b, word c, word d, word low, word high, word* result) {
    for (int turn = 0; turn < rounds; ++turn) {
        const auto first = (unsigned __int128)multipliers[0] * a, third = (unsigned __int128)multipliers[1] * c;
        a = word(third >> 64) ^ b ^ low;
        b = word(third);
        c = word(first >> 64) ^ d ^ high;
        d = word(first);
        low += weyl[0];
        high += weyl[1];
    }
    result[0] = a, result[1] = b, result[2] = c, result[3] = d;
}

/// At most `most` standard normal numbers of the halves of words; all products are exact. Three loops, of which the compiler
/// makes vectors of the first and the last.
inline void quantiles(const std::uint32_t* halves, const float* knots, float* result, long n) {
    std::int32_t knot[most];
    double fraction[most];  // of the way to the next knot
    float pair[2 * most];  // that knot and the next one
    for (long k = 0; k < n; ++k) {
        const double p = double(std::int32_t(halves[k] & 0x7FFFFFFFu)) + 0.5;  // 2^32 times that of the specification
        word bits;
        std::memcpy(&bits, &p, 8);
        knot[k] = std::int32_t((bits >> fraction_bits) - first_knot);
        bits = (bits << knot_bits & ((word(1) << 52) - 1)) | word(1023) << 52;
        double one;
        std::memcpy(&one, &bits, 8);
        fraction[k] = one - 1;
    }
    for (long k = 0; k < n; ++k) {
        std::memcpy(pair + 2 * k, knots + knot[k], 8);
    }
    for (long k = 0; k < n; ++k) {
        const double low = pair[2 * k], step = double(pair[2 * k + 1]) - low;
        const float x = float(low + fraction[k] * step);
        std::uint32_t bits;
        std::memcpy(&bits, &x, 4);
        bits ^= halves[k] & 0x80000000u;
        std::memcpy(result + k, &bits, 4);
    }
}

}  // namespace

extern "C" {

/// Words (n, size) of n tracks; `tracks` has one number for all of them if `step` is 0.
void noise_words(const word* events, const word* tracks, long step, long n, long size, word seed, word run, word stream,
                 word* result) {
    word four[4];
    for (long i = 0; i < n; ++i)
        for (long k = 0; k < size; k += 4) {
            philox(k / 4 + 1, events[i], tracks[i * step], stream, seed, run, four);
            std::memcpy(result + i * size + k, four, 8 * (size - k < 4 ? size - k : 4));
        }
}

/// Normal numbers (n, size) of n tracks.
void noise_normal(const word* events, const word* tracks, long step, long n, long size, word seed, word run,
                  const float* knots, float* result) {
    word four[4];
    std::uint32_t halves[most];
    long waiting = 0;
    for (long i = 0; i < n; ++i)
        for (long k = 0; k < size; k += 8) {
            philox(k / 8 + 1, events[i], tracks[i * step], 0, seed, run, four);
            for (int m = 0; m < 4; ++m) {
                halves[waiting + 2 * m] = std::uint32_t(four[m]);
                halves[waiting + 2 * m + 1] = std::uint32_t(four[m] >> 32);
            }
            waiting += size - k < 8 ? size - k : 8;
            if (waiting > most - 8) {
                quantiles(halves, knots, result, waiting);
                result += waiting;
                waiting = 0;
            }
        }
    quantiles(halves, knots, result, waiting);
}

}
