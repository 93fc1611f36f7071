// Parts of the headers that `hepgan export --format cpp` writes: the file of weights, and the loops that compute a network. No
// dependencies.
#ifndef HEPGAN_COMPILED_HPP
#define HEPGAN_COMPILED_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"

namespace hepgan::compiled {

/// A file of weights: a head of 64 bytes, the metadata as JSON, zeros up to a multiple of 64 bytes, float32 numbers. All numbers
/// in the file are little-endian.
///
/// The head: "hepganW1"; length of the metadata in bytes and number of weights (8 bytes each); sha256 of the ONNX file that
/// network and weights were made from (32 bytes); checksum of the rest of the file (8 bytes), FNV-1a in 64 bits.
class Weights {
 public:
  /// Read a file. Throws NotFoundError if it does not exist, ModelFileError if it is damaged or belongs to another network.
  ///
  /// digest: sha256, in hexadecimal digits, of the ONNX file that the network was made from. count: number of its weights.
  Weights(const std::string& path, std::string_view digest, std::size_t count) {
    const std::string content = read(path);
    const auto fail = [&path](const std::string& what, const std::string& remedy) {
      throw ModelFileError("hepgan: " + path + ": " + what + "; " + remedy);
    };
    const std::string again = "copy or export it again";
    if (content.compare(0, magic.size(), magic) != 0)
      fail("not a file of weights: expected it to begin with '" + std::string(magic) + "', got something else",
           "name the .bin file that hepgan export --format cpp wrote beside the header");
    if (content.size() < head) fail("cut short: expected " + std::to_string(head) + " bytes or more, got " + std::to_string(content.size()), again);
    const std::uint64_t text = number(content, 8), numbers = number(content, 16);
    constexpr std::uint64_t most = std::uint64_t{1} << 40U;  // bytes; keeps the sum below from wrapping around
    const std::uint64_t begin = head + (text + line - 1) / line * line;
    if (text > most || numbers > most || content.size() != begin + 4 * numbers)
      fail("cut short or damaged: expected " + (text > most || numbers > most ? "another length" : std::to_string(begin + 4 * numbers) + " bytes") +
               ", got " + std::to_string(content.size()),
           again);
    if (hash(hash(first_hash, content, 0, 56), content, head, content.size()) != number(content, 56))
      fail("altered: expected the checksum " + hexadecimal(content, 56, 8) + ", got another one", again);
    if (hexadecimal(content, 24, 32) != digest || numbers != count)
      fail("weights of another network: expected those made from " + std::string(digest.substr(0, 16)) + "..., got " +
               hexadecimal(content, 24, 8) + "...",
           "take header and weights of the same export");
    metadata_ = content.substr(head, static_cast<std::size_t>(text));
    lines_.resize((count + Line{}.size() - 1) / Line{}.size() + 1);
    for (std::size_t k = 0; k < count; ++k) {
      const char* const place = content.data() + begin + 4 * k;
      std::uint32_t bits = 0;
      for (unsigned byte = 0; byte < 4; ++byte) bits |= std::uint32_t{static_cast<unsigned char>(place[byte])} << (8 * byte);
      std::memcpy(&lines_[k / Line{}.size()][k % Line{}.size()], &bits, sizeof bits);
    }
  }

  /// The description of the model, JSON.
  const std::string& metadata() const { return metadata_; }
  const float* data() const { return lines_.data()->data(); }

 private:
  static constexpr std::string_view magic = "hepganW1";
  static constexpr std::size_t head = 64, line = 64;
  static constexpr std::uint64_t first_hash = 0xcbf29ce484222325U;

  struct alignas(line) Line : std::array<float, line / sizeof(float)> {};  // aligned: no load crosses a cache line

  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw NotFoundError("hepgan: weights not found: " + path + "; name the .bin file that was exported beside the header");
    const std::streamoff size = file.tellg();
    std::string content;
    constexpr std::streamoff most = std::streamoff{1} << 40U;  // bytes; a folder reports an even larger size
    if (size >= 0 && size < most) {
      content.resize(static_cast<std::size_t>(size));
      file.seekg(0);
      file.read(content.data(), size);
    }
    if (size < 0 || size >= most || !file)
      throw ModelFileError("hepgan: " + path + ": expected a file of weights, got a folder or something unreadable; name the .bin file");
    return content;
  }

  static std::uint64_t number(const std::string& content, std::size_t place) {
    std::uint64_t value = 0;
    for (unsigned byte = 0; byte < 8; ++byte) value |= std::uint64_t{static_cast<unsigned char>(content[place + byte])} << (8 * byte);
    return value;
  }

  static std::uint64_t hash(std::uint64_t value, const std::string& content, std::size_t from, std::size_t to) {
    for (; from < to; ++from) value = (value ^ static_cast<unsigned char>(content[from])) * 0x100000001b3U;
    return value;
  }

  static std::string hexadecimal(const std::string& content, std::size_t place, std::size_t bytes) {
    std::string text;
    for (std::size_t k = place; k < place + bytes; ++k) {
      const auto byte = static_cast<unsigned char>(content[k]);
      text += "0123456789abcdef"[byte / 16];
      text += "0123456789abcdef"[byte % 16];
    }
    return text;
  }

  std::string metadata_;
  std::vector<Line> lines_;
};

// Four numbers that are computed at once. With -O2, compilers differ in the loops that they vectorise, and some keep arrays of
// sums in memory. This type is a vector register for all of them, also without -ffast-math.
#if defined(__GNUC__)
using Four = float __attribute__((vector_size(16)));
#else
struct Four {
  float v[4];
  Four& operator+=(const Four& other) { for (int k = 0; k < 4; ++k) v[k] += other.v[k]; return *this; }
  friend Four operator*(Four a, const Four& b) { for (int k = 0; k < 4; ++k) a.v[k] *= b.v[k]; return a; }
  friend Four operator*(Four a, float b) { for (float& x : a.v) x *= b; return a; }
};
#endif

inline Four load(const float* from) {
  Four four;
  std::memcpy(&four, from, sizeof four);
  return four;
}

inline void store(float* to, const Four& four) { std::memcpy(to, &four, sizeof four); }

/// y[o] = bias[o] + sum over i of x[i] * w[i * step + o], for the outputs o = 4 k to 4 k + 3 of each `k`; sums stay in registers.
/// sparse: skip the inputs that are zero.
template <bool sparse, std::size_t... k>
inline void tile(const float* w, std::size_t step, const float* bias, const float* x, float* y, std::size_t inputs, std::index_sequence<k...>) {
  Four sum[] = {bias != nullptr ? load(bias + 4 * k) : Four{}...};
  for (std::size_t i = 0; i < inputs; ++i, w += step) {
    const float value = x[i];
    if (sparse && value == 0) continue;
    ((sum[k] += load(w + 4 * k) * value), ...);
  }
  (store(y + 4 * k, sum[k]), ...);
}

/// y (outputs) = W x (inputs) + bias. The weights are stored in the order of reading: an (inputs, tile) matrix for each tile of
/// 32 outputs, then of 16, then of 4. `outputs` is a multiple of 4. bias: may be nullptr.
template <bool sparse = false>
inline void dense(const float* w, const float* bias, const float* x, float* y, std::size_t inputs, std::size_t outputs) {
  std::size_t o = 0;
  const auto tiles = [&](auto fours) {
    constexpr std::size_t size = 4 * decltype(fours)::size();
    for (; o + size <= outputs; o += size)
      tile<sparse>(w + o * inputs, size, bias != nullptr ? bias + o : nullptr, x, y + o, inputs, fours);
  };
  tiles(std::make_index_sequence<8>());
  tiles(std::make_index_sequence<4>());
  tiles(std::make_index_sequence<1>());
}

/// y (rows, columns) = W (rows, inner) x (inner, columns); zeros of W are skipped. `columns` is a multiple of 4.
inline void product(const float* w, const float* x, float* y, std::size_t rows, std::size_t inner, std::size_t columns) {
  for (std::size_t r = 0; r < rows; ++r, w += inner, y += columns) {
    std::size_t c = 0;
    const auto tiles = [&](auto fours) {
      constexpr std::size_t size = 4 * decltype(fours)::size();
      for (; c + size <= columns; c += size) tile<true>(x + c, columns, nullptr, w, y + c, inner, fours);
    };
    tiles(std::make_index_sequence<8>());
    tiles(std::make_index_sequence<1>());
  }
}

/// y (places, outputs) = W (places, outputs, inputs) x (places, inputs): a locally connected layer, in which each place has its
/// own weights. `inputs` is a multiple of 8.
inline void local(const float* w, const float* x, float* y, std::size_t places, std::size_t inputs, std::size_t outputs) {
  for (std::size_t p = 0; p < places; ++p, x += inputs)
    for (std::size_t o = 0; o < outputs; ++o, w += inputs) {
      Four even{}, odd{};
      for (std::size_t i = 0; i < inputs; i += 8) {
        even += load(w + i) * load(x + i);
        odd += load(w + i + 4) * load(x + i + 4);
      }
      even += odd;
      float sum[4];
      store(sum, even);
      *y++ = (sum[0] + sum[2]) + (sum[1] + sum[3]);
    }
}

inline float total(const float* x, std::size_t n) {
  float sum[8] = {};
  for (std::size_t i = 0; i < n; ++i) sum[i % 8] += x[i];
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

inline float multiplied(const float* x, std::size_t n) {
  float result = 1;
  for (std::size_t i = 0; i < n; ++i) result *= x[i];
  return result;
}

inline float largest(const float* x, std::size_t n) { return *std::max_element(x, x + n); }

/// y = exp(x) / sum of exp(x).
inline void softmax(const float* x, float* y, std::size_t n) {
  const float most = largest(x, n);
  for (std::size_t i = 0; i < n; ++i) y[i] = std::exp(x[i] - most);
  const float sum = total(y, n);
  for (std::size_t i = 0; i < n; ++i) y[i] /= sum;
}

inline void copy(const float* from, float* to, std::size_t n) { std::memcpy(to, from, n * sizeof(float)); }

inline float smaller(float a, float b) { return b < a ? b : a; }
inline float larger(float a, float b) { return a < b ? b : a; }
inline float relu(float x) { return larger(x, 0); }
inline float leaky_relu(float x, float slope) { return larger(x, slope * x); }  // without a branch; slope: at most 1
inline float elu(float x, float alpha) { return x < 0 ? alpha * std::expm1(x) : x; }
inline float clip(float x, float low, float high) { return smaller(larger(x, low), high); }
inline float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
inline float softplus(float x) { return relu(x) + std::log1p(std::exp(-std::abs(x))); }

/// Infinity, from its bits: compilers warn of std::numeric_limits<float>::infinity() with -ffast-math.
inline const float infinity = [] {
  const std::uint32_t bits = 0x7F800000U;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}();

}  // namespace hepgan::compiled

#endif  // HEPGAN_COMPILED_HPP
